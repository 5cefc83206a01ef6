"""What makes it a daemon and a job: when to try again, when to wait, when to stop, and what to say meanwhile."""
