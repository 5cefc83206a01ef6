"""Comparisons of the settled events with the counts and the log of Auth0."""
