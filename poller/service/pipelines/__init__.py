"""Pipelines: one tenant to one Segment source each, and any number of them in one process."""
