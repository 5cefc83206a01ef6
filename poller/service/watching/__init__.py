"""The events that were just settled, for whoever watches: `tail`, `trace` and the live page."""
