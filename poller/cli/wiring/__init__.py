"""The parts of the program, bound together from settings."""
