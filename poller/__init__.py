"""Forwards logins and signups from Auth0 to Segment, and loses and repeats none of them."""

__version__ = "0.1.0"
