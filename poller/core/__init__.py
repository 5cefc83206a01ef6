"""What forwarding means: standard library only, no I/O, no clock, no logging, no settings."""
