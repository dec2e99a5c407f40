"""One module for each release that changed the schema."""
