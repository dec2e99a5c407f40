"""The tests: `unit` and `store`, `simulation` in one process, `e2e` over real processes, `vectors`."""
