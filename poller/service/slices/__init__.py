"""Bounded spans that several workers walk at once, and the identifies at the end of a backfill."""
