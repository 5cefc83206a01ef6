"""The tenant of all benchmarks: 5,000 users, busy days, and half of its events of interest."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.process.bench import COMMAND, Bench, SandboxProcess, bench

FETCH_S, SEND_S = 0.120, 0.060
USERS = 5_000
OF_INTEREST = ["login", "login", "login", "social_login", "sso_login"]
_OTHERS = ["seacft", "ssa", "slo", "fsa", "failed_login"]
_DAY_S = 86_400


@contextmanager
def reference(
    folder: Path,
    plan: str,
    *,
    pages: int,
    latency: bool = True,
    users: int = USERS,
    kinds: Sequence[str] = (*OF_INTEREST, *_OTHERS),
    **settings: Any,
) -> Iterator[Bench]:
    """Open a bench on a log of full pages, with settings that use the whole rate limit.

    The search shows every user from the start. Otherwise the users of the first pages would be read
    one by one on a machine that begins within the lag of the search, and in one search on a slower
    one. The least that a rate limit allows counts no requests for single users either. Further
    settings are named section__key.
    """
    with bench(folder, SandboxProcess(seed=1, plan=plan)) as made:
        sandbox = made.sandbox
        sandbox.ask("tenant", keeps_drawn=True, index_lag=0)
        sandbox.ask("people", count=users)
        sandbox.ask(
            "grow",
            count=100 * pages,
            seconds=_DAY_S,
            ago=_DAY_S + 3600,
            kinds=kinds,
            swing=10,
        )
        if latency:
            sandbox.ask("latency", auth0=FETCH_S, segment=SEND_S)
        made.write_settings(
            **{
                "auth0__rate_share": 1.0,
                "segment__max_messages_per_second": 0,
                "poll__start": "now",
                "poll__late_window": "0s",
                "log__level": "warning",
                **settings,
            }
        )
        yield made


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The requests of a run, and the time from the first log request to the last request of all."""

    seconds: float
    logs: int
    users: int
    batches: int

    @property
    def to_auth0(self) -> int:
        """The number of requests to Auth0, without requests for tokens."""
        return self.logs + self.users


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Requests):
    """A backfill: its requests, its summary, and its memory at the peak."""

    summary: dict[str, Any]
    peak_mb: float


def requests_of(made: Bench) -> Requests:
    """Return the requests so far, and check that every event arrived once."""
    truth = made.sandbox.truth()
    assert truth["delivered"] == truth["expected"]
    assert not truth["duplicated"]
    asked = [
        request for request in made.sandbox.ask("requests") if request["path"] != "/oauth/token"
    ]
    ends = [datetime.fromisoformat(request["at"]) for request in asked]
    paths = [request["path"] for request in asked]
    return Requests(
        seconds=(max(ends) - min(ends)).total_seconds() + FETCH_S,
        logs=sum(path == "/api/v2/logs" for path in paths),
        users=sum(path.startswith("/api/v2/users") for path in paths),
        batches=sum(path == "/v1/batch" for path in paths),
    )


def backfill(made: Bench, *arguments: str) -> Run:
    """Run the installed command over the whole log, and check that every event arrived once."""
    command = [
        str(COMMAND),
        "backfill",
        "--since",
        "earliest",
        "--yes",
        "--json",
        "--new",
        *arguments,
    ]
    out = made.folder / "backfill.out"
    process = os.posix_spawn(
        command[0],
        [*command, "--config", str(made.settings)],
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, str(out), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        ],
    )
    _, status, used = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return Run(
        **asdict(requests_of(made)),
        summary=json.loads(out.read_text().splitlines()[-1]),
        peak_mb=used.ru_maxrss / 1024,
    )
