"""Programs which make files of this repository."""
