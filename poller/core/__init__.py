"""The meaning of forwarding. Standard library only: no I/O, clock, logging or settings."""
