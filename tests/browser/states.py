"""States of a daemon, as the live page gets them."""

from typing import Any


def stream_state(**values: Any) -> dict[str, Any]:
    """Return the state of one stream, as `status --json` has it."""
    at = "2026-11-20T11:59:00.000Z"
    return {
        "domain": "acme.eu.auth0.com",
        "source_name": "web",
        "generation": "1",
        "position": "90020261120115900000000000000000000000000000000000000001",
        "position_at": at,
        "drained_at": at,
        "lag_s": 1.2,
        "freshness_s": 0.8,
        "backlog": None,
        "last_cycle_at": at,
        "last_error": None,
        "blocked": None,
        "events": {"forwarded": 12_840, "filtered": 54_012, "dead_lettered": 0, "discarded": 0},
        "dead_letters": 0,
        "dead_letters_by_reason": {},
        "gaps": [],
        "holes": [],
        "pending_second_readings": [],
        "revisits": [],
        "known_since": at,
        "spans": [],
        **values,
    }


def state_of(**values: Any) -> dict[str, Any]:
    """Return the state of a daemon with one stream."""
    return {
        "at": "2026-11-20T12:00:00.000Z",
        "problem": None,
        "status": {
            "ledger": "/var/lib/auth0-segment-poller/ledger.db",
            "version": "1.0.0",
            "daemon": {"pid": 412, "since": "2026-11-20T06:00:00.000Z"},
            "last_fatal_error": None,
            "streams": [stream_state(**values)],
        },
    }
