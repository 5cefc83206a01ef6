"""Places that settings come from."""
