"""Bounded spans, walked by several workers, and the identify calls at their end."""
