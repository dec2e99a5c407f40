"""What every organisation's process has: a public log, sessions, listeners, an orderly end."""
