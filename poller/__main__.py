"""The entry point of `python -m poller` and of the installed command."""

import sys

from poller.cli import run_command


def main() -> None:
    """Run the command line, and exit."""
    sys.exit(run_command())


if __name__ == "__main__":
    main()
