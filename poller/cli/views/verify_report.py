"""What `verify` found, for scripts and for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from poller.cli.views.terminal import Terminal
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.messages import iso
from poller.core.spans import LogRange
from poller.service.verify.daily import (
    BAND_EVENTS,
    BAND_PERCENT,
    FINAL_AFTER,
    Compared,
    Day,
    Verdict,
    beginning_of,
)
from poller.service.verify.hourly import HOUR, HOURS_A_DAY, Mismatch, Recount

_STYLES = {
    "agrees": "green",
    "differs": "bold red",
    "not_final": "",
    "partly_settled": "yellow",
    "not_settled": "dim",
}
_SHOWN = 40
"""Differing hours that are listed for people; JSON has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The verdicts at the server's `now`; `begun` are the settled stretches, none if nothing is settled."""

    now: datetime
    begun: tuple[LogRange, ...]
    days: tuple[Day, ...]
    recount: Recount | None


def facts(url: str, stream: Stream, found: Verified) -> dict[str, Any]:
    """Everything that `verify` found, as JSON has it."""
    first = moment_of(found.begun[0].after) if found.begun else None
    return {
        "ledger": url,
        "domain": stream.domain,
        "source_name": stream.source_name,
        "at": iso(found.now),
        "settled_from": iso(first) if first else None,
        "band": {"percent": BAND_PERCENT, "events": BAND_EVENTS},
        "differs": any(day.verdict is Verdict.DIFFERS for day in found.days),
        "days": [_day(day, found.recount) for day in found.days],
        "exact": _exact(found.recount) if found.recount else None,
    }


def _day(day: Day, recount: Recount | None) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "verdict": str(day.verdict),
        "said": _said(day, recount),
        "logins": _compared(day.logins),
        "signups": _compared(day.signups),
        "dead_letters": day.dead_letters,
        "sent": dict(sorted(day.sent.items())),
        "final_at": iso(beginning_of(day.day) + FINAL_AFTER),
    }


def _compared(count: Compared) -> dict[str, int]:
    return {
        "settled": count.settled,
        "settled_at_most": count.most,
        "auth0": count.auth0,
        "excess": count.excess,
    }


def _exact(recount: Recount) -> dict[str, Any]:
    return {
        "hours_judged": len(recount.judged),
        "hours_agreeing": len(recount.agreeing),
        "not_kept": _ranges(recount.not_kept),
        "not_settled": _ranges(recount.not_settled),
        "differences": [_difference(mismatch) for mismatch in recount.mismatches],
    }


def _ranges(hours: Sequence[datetime]) -> list[dict[str, Any]]:
    """Hours in ascending order, those that follow on each other as one."""
    found: list[dict[str, Any]] = []
    for hour in hours:
        if not found or found[-1]["until"] != iso(hour):
            found.append({"since": iso(hour), "hours": 0})
        found[-1] |= {"until": iso(hour + HOUR), "hours": found[-1]["hours"] + 1}
    return found


def _difference(found: Mismatch) -> dict[str, Any]:
    return {
        "hour": iso(found.hour),
        "type": found.type,
        "settled": found.settled,
        "logged": found.logged,
    }


def _said(day: Day, recount: Recount | None) -> str:
    """The verdict in plain words."""
    match day.verdict:
        case Verdict.AGREES:
            return _agreement(day, recount)
        case Verdict.DIFFERS:
            return _difference_of(day, recount)
        case Verdict.NOT_FINAL:
            return "not final yet"
        case Verdict.PARTLY_SETTLED:
            return "partly settled"
        case Verdict.NOT_SETTLED:
            return "not settled"


def _agreement(day: Day, recount: Recount | None) -> str:
    agreeing = sum(hour.date() == day.day for hour in recount.agreeing) if recount else 0
    text = "agrees in every hour" if agreeing == HOURS_A_DAY else "agrees"
    return f"{text}, though {_by_how_many(day)}" if day.differing else text


def _difference_of(day: Day, recount: Recount | None) -> str:
    hours = (
        {found.hour for found in recount.mismatches if found.hour.date() == day.day}
        if recount
        else set()
    )
    if hours:
        return f"differs from the log in {len(hours)} hour{'' if len(hours) == 1 else 's'}"
    return f"differs: {_by_how_many(day)}"


def _by_how_many(day: Day) -> str:
    told = [
        f"Auth0 has {abs(count.excess)} {name} {'more' if count.excess > 0 else 'fewer'}"
        for name, count in day.differing.items()
    ]
    return ", ".join(told)


def show(found: dict[str, Any]) -> None:
    """The same for people."""
    console = Terminal(highlight=False)
    console.print(f"{found['domain']} → {found['source_name']}", soft_wrap=True)
    if not found["days"]:
        console.print("nothing of this range is settled yet: there is nothing to compare")
        return
    console.print(_table(found["days"]))
    console.print(f"Sent in these days: {_names(found['days'])}.")
    for line in _notes(found):
        console.print(line)
    if found["exact"]:
        _show_exact(console, found["exact"])


def _table(days: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("day\nUTC", no_wrap=True)
    for heading in (
        "logins\nsettled",
        "logins\nAuth0",
        "signups\nsettled",
        "signups\nAuth0",
        "dead\nletters",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", vertical="bottom")
    for day in days:
        style = _STYLES[day["verdict"]]
        counts = (
            day["logins"]["settled"],
            day["logins"]["auth0"],
            day["signups"]["settled"],
            day["signups"]["auth0"],
        )
        letters = Text(str(day["dead_letters"]), style="yellow" if day["dead_letters"] else "")
        said = Text(day["said"], style=style)
        table.add_row(day["day"], *(f"{count:,}" for count in counts), letters, said)
    if len(days) > 1:
        table.add_section()
        table.add_row("total", *(f"{total:,}" for total in _totals(days)), style="bold")
    return table


def _totals(days: list[dict[str, Any]]) -> list[int]:
    """The sums of the columns of numbers."""
    columns = [
        [day[name][of] for day in days]
        for name in ("logins", "signups")
        for of in ("settled", "auth0")
    ]
    return [sum(column) for column in [*columns, [day["dead_letters"] for day in days]]]


def _names(days: list[dict[str, Any]]) -> str:
    """What was sent, by the name of the track."""
    sent: Counter[str] = Counter()
    for day in days:
        sent.update(day["sent"])
    return ", ".join(f"{count:,} {name}" for name, count in sorted(sent.items())) or "nothing"


def _notes(found: dict[str, Any]) -> list[str]:
    band = found["band"]
    text = (
        f"A day agrees within {band['percent']} %, or {band['events']}. Auth0 does not tell by which formula it counts"
        " logins; as signups it also counts users made by API, imported or of social connections, of whom its log may"
        " have only an `s`."
    )
    lines = [text]
    verdicts = {day["verdict"] for day in found["days"]}
    if "not_final" in verdicts:
        lines.append("Not final yet: Auth0 goes on counting a day until the end of the next one.")
    if "partly_settled" in verdicts:
        lines.append("Partly settled: the ledger does not hold all of the day; it is not judged.")
    if "differs" in verdicts and not found["exact"]:
        lines.append("`verify --exact` reads the log again, and says which hours and types differ.")
    return lines


def _show_exact(console: Terminal, exact: dict[str, Any]) -> None:
    judged = f"{exact['hours_judged']} whole hours read again: {exact['hours_agreeing']} agree to the event"
    console.print(judged)
    for name, why in (
        ("not_settled", "not settled whole"),
        ("not_kept", "no longer kept whole by Auth0"),
    ):
        for stretch in exact[name]:
            noun = "hour" if stretch["hours"] == 1 else "hours"
            said = f"{stretch['hours']} {noun} {why}, not judged: {stretch['since']} to {stretch['until']}"
            console.print(said, style="yellow")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("hour", "type", "settled", "in the log", "difference"):
        table.add_column(
            heading, justify="left" if heading in {"hour", "type"} else "right", no_wrap=True
        )
    for row in exact["differences"][:_SHOWN]:
        more = row["settled"] - row["logged"]
        cells = (
            row["hour"],
            row["type"] or "unreadable",
            f"{row['settled']:,}",
            f"{row['logged']:,}",
            f"{more:+,}",
        )
        table.add_row(
            *(Text(cell, style="red" if number else "") for number, cell in enumerate(cells))
        )
    if exact["differences"]:
        console.print(table)
        console.print(_meaning(exact["differences"]))


def _meaning(differences: list[dict[str, Any]]) -> str:
    hidden = len(differences) - _SHOWN
    rest = f"{hidden} more are in --json. " if hidden > 0 else ""
    return (
        f"{rest}Fewer settled than logged: they came in late, or were lost (of types that are not sent, late ones are"
        " not counted). More: a position was moved back by hand, and they were counted again."
    )
