"""The entry point of `python -m poller` and of the installed command."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit."""
    try:
        from poller.cli import run_command  # noqa: PLC0415 - Ctrl-C may come during the import

        code = run_command()
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
