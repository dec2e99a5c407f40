"""Pure modules, examples and properties side by side."""
