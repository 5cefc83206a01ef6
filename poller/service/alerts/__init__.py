"""Alerts to people: what is told, when, and how it is sent beside the forwarding."""
