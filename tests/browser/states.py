"""States of a daemon, as the live page gets them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.text.dates import iso

_EVENTS = {"read": 66_852, "forwarded": 12_840, "filtered": 54_011, "dead_lettered": 1}
RUNNING = {
    "kind": "running",
    "since": "2026-11-20T06:00:00.000Z",
    "reason": None,
    "code": None,
    "hint": None,
    "next_try_at": None,
}
BLOCKED = {
    **RUNNING,
    "kind": "blocked",
    "reason": "Auth0 answered 403 to `logs`",
    "code": "auth0-scope-missing",
    "hint": "grant read:logs to the application: `auth0-segment-poller check` says what is missing",
}
POSTPONED = {
    **RUNNING,
    "kind": "postponed",
    "reason": "Segment answered 503",
    "next_try_at": "2026-11-20T12:00:30.000Z",
}


def state_of(**values: Any) -> dict[str, Any]:
    """Return the state of a daemon that runs, with every part of the page filled."""
    now = datetime.now(UTC)

    def ago(hours: float) -> str:
        return iso(now - timedelta(hours=hours))

    ranges = [
        ("hole", 44, 40),
        ("backfill", 100, 50),
        ("unfinished", 50, 44),
        ("live", 40, 20),
        ("catch_up", 20, 9),
        ("unfinished", 9, 5),
        ("live", 5, 0.5),
        ("ahead", 0.5, 0),
        ("gap", 60, 59),
    ]
    ids = [f"{now - timedelta(hours=hours):900%Y%m%d%H%M%S}000000" for hours in (60, 59)]
    return {
        "at": iso(now),
        "condition": RUNNING,
        "numbers": {
            "events": _EVENTS,
            "ages": {
                "freshness_seconds": 0.8,
                "position_age_seconds": 4000.0,
                "retention_seconds": 2_592_000.0,
                "backlog_seconds": 14_400.0,
            },
            "rate_limits": [{"endpoint": "logs", "limit": 50, "remaining": 41}],
            "requests": [
                {"service": "auth0", "call": "logs", "outcome": "ok", "count": 912},
                {"service": "auth0", "call": "logs", "outcome": "rate_limited", "count": 12},
                {"service": "segment", "call": "batch", "outcome": "ok", "count": 240},
            ],
            "segment": {
                "at": ago(0.2),
                "acknowledged": 12_840,
                "received": 12_838,
                "missing": 2,
                "failed": {},
                "filtered": {"blocked_by_plan": 1},
            },
        },
        "sample": sample_of(now),
        "settings": {"domain": "acme.eu.auth0.com", "source_name": "web", "poll_interval_s": 10.0},
        "problem": None,
        "is_backfill_running": True,
        "ranges": [
            {"kind": kind, "begin": ago(begin), "end": ago(end)} for kind, begin, end in ranges
        ],
        "slices": [
            {
                "kind": "backfill",
                "begin": ago(59),
                "reached": ago(50),
                "end": ago(44),
                "part_done": 0.6,
            }
        ],
        "status": {
            "position": ids[1],
            "position_at": ago(0.5),
            "drained_at": ago(0),
            "lag_s": 1.2,
            "last_cycle_at": ago(0),
            "last_error": None,
            "events": {"forwarded": 12_840, "filtered": 54_011, "dead_lettered": 2, "discarded": 0},
            "dead_letters": 2,
            "dead_letters_by_reason": {"no_user_id": 2},
            "gaps": [{"after": ids[0], "before": ids[1]}],
            "holes": [],
            "revisits": [],
            "pending_second_readings": [],
            "known_since": ago(100),
        },
        **values,
    }


def sample_of(at: datetime, **values: Any) -> dict[str, Any]:
    """Return a sample of the numbers."""
    return {
        "at": iso(at),
        **_EVENTS,
        "freshness_seconds": 0.8,
        "backlog_seconds": 14_400.0,
        "rate_limit": 50,
        "rate_limit_remaining": 41,
        **values,
    }
