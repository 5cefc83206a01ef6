"""Dates, JSON and text from outside, read and written safely."""
