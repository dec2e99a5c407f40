"""The demonstration: a whole network on this machine, driven by a year of real purchases."""
