"""Clients of nodes and clearing for anyone's program: a method per RPC, errors as `comity.errors`.

`connection` opens channels, `session` proves possession of a key, and `member`, `merchant`,
`operator` and `log` call the services. Nothing here retries: every write has its caller's id, so
whoever holds the id repeats it.
"""
