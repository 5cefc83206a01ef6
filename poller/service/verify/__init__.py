"""Comparisons of what was settled with what Auth0 counted."""
