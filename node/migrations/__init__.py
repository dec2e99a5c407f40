"""The steps from each release's schema of a node to the next."""
