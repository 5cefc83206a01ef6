"""The past: a plan, an estimate, and files in place of the log."""
