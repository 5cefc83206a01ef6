"""The daemon and the jobs: everything that makes forwarding a service."""
