"""Migrations of clearing's database, from any release to the newest."""
