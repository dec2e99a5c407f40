"""The tests, by what they need: nothing, a database, a simulated world, processes, vectors."""
