"""Bounds of a range as people write them: a date, a time, `earliest`, or so long ago."""

from datetime import datetime, timedelta
from typing import Any

import click

from poller.config import duration, moment
from poller.core.log_ids import EARLIEST, LogId, floor_id

Bound = timedelta | LogId
"""So long before the server's now, or a position."""


class BoundType(click.ParamType[Any]):
    name = "DATE|TIME|7d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "earliest":
            return EARLIEST
        try:
            return (
                duration(value)
                if value[-1:] in "dhms" and value[:1].isdigit()
                else floor_id(moment(value))
            )
        except ValueError:
            self.fail(
                "must be earliest, a date as 2026-01-31, a time as 2026-01-31T08:00:00Z, or as 7d",
                param,
                ctx,
            )


def position_of(bound: Bound, now: datetime) -> LogId:
    """The position that the bound stands for, at the server's now."""
    if not isinstance(bound, timedelta):
        return bound
    try:
        return floor_id(now - bound)
    except OverflowError:  # longer ago than there are years
        return EARLIEST
