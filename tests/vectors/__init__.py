"""Published test vectors."""
