"""Calls upstream at the pace that the services allow."""
