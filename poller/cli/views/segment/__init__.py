"""The words about what Segment received and dropped."""
