"""The live page: the events that were just settled, and the state of the daemon, in a browser."""
