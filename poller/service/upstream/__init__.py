"""Limits, retries and caches for the calls to Auth0 and Segment."""
