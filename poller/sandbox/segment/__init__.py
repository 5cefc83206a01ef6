"""The simulated collector."""
