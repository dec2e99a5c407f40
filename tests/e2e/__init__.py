"""Real processes, TLS and the `comity` command."""
