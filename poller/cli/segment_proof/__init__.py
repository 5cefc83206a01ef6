"""The proof of the write key, the region and the tracking plan before the first event."""
