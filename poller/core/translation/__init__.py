"""Log events become Segment calls here."""
