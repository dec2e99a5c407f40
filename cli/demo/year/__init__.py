"""The story of a year: four programmes of different archetypes as the brands of one network."""
