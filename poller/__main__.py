"""The entry point of `python -m poller` and of the installed command."""

import gc
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit."""
    # Imports create many objects, and none of them becomes garbage. Without collections in between,
    # an import takes a tenth less time. The collections begin again when a command is imported.
    gc.disable()
    try:
        if sys.argv[1:2] == ["run"]:
            from poller.service.lifecycle import hang_up  # noqa: PLC0415 - as below

            hang_up.remember()
        from poller.cli import run_command  # noqa: PLC0415 - Ctrl-C may come during the import

        code = run_command()
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
