"""The pipelines of `run`, bound together from their settings."""
