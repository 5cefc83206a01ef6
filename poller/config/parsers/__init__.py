"""Parsers of single settings."""
