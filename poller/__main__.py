"""`python -m poller`, and the installed command."""

import sys

from poller.cli import run_command


def main() -> None:
    sys.exit(run_command())


if __name__ == "__main__":
    main()
