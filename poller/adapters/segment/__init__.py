"""Segment, one attempt per call."""
