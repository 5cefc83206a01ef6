"""The daemon: polls, late arrivals, maintenance."""
