"""Telling a brand's own systems what changes: signed messages, in order, until they are taken."""
