"""Adapters: one vendor each, with one attempt per call.

Vendor types and vendor exceptions stop here.
"""
