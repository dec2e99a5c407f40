"""A whole network in one process, on virtual time, from one seed."""
