"""`demo`: the whole thing with no account anywhere."""

from datetime import timedelta
from typing import Any

import click

from poller.cli.groups import examples
from poller.config import duration


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        try:
            return value if isinstance(value, timedelta) else duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    short_help="Watch the whole thing work, with no account anywhere.",
    epilog=examples("demo", "demo --for 30s"),
)
@click.option(
    "--for", "run_for", type=_Duration(), help="How long, as 10s or 1m; without a terminal 10s."
)
def demo(run_for: timedelta | None) -> int:
    """Runs the real daemon between a simulated Auth0 tenant and a Segment-compatible collector."""
    from poller.cli.demonstration.live import demonstrate  # noqa: PLC0415 - what simulates is no part of a daemon's memory

    return demonstrate(run_for)
