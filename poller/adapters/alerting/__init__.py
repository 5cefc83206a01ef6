"""The services that bring alerts to people, and the dead man's switch."""
