"""Reports to operators: logs, metrics, health, and systemd's notifications."""
