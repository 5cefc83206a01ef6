"""The simulated tenant."""
