"""The `comity` command: it parses and prints; the work is done elsewhere."""
