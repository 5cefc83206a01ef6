"""The parts of the command `init`."""
