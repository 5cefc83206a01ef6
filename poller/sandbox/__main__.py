"""The sandbox as a process.

It prints its addresses as a line of JSON, and ends with its standard input or by SIGTERM.
"""

import argparse
import json
import signal
import sys

from poller.sandbox.auth0.limits import PLANS
from poller.sandbox.server import Sandbox


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m poller.sandbox", description=__doc__)
    parser.add_argument("--seed", type=int, help="make the same events in every run")
    parser.add_argument(
        "--plan",
        choices=sorted(PLANS),
        default="enterprise",
        help="the plan whose rate limits hold",
    )
    parser.add_argument(
        "--events", type=int, default=0, help="the number of entries in the last hour at the start"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Sandbox(seed=given.seed, plan=given.plan) as sandbox:
        sandbox.begin_with(given.events)
        sys.stdout.write(json.dumps(sandbox.facts()) + "\n")
        sys.stdout.flush()
        sys.stdin.read()  # until the parent process is gone


if __name__ == "__main__":
    main()
