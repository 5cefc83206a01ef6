"""The life of the process: start, signals, one-shot runs, liveness, privileges."""
