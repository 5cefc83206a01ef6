"""The golden run: the bytes of all calls of the recorded samples and of an hour of the sandbox.

A change that only moves or renames code leaves every file of `tests/data/golden` as it is.
If the calls shall change, `python -m tests.test_golden` writes the files anew. Review the diff.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest

from poller.adapters.segment.encoding import MessageEncoder
from poller.core.delivery import BatchSender
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Message
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.sandbox.auth0.tenant import Tenant
from poller.sandbox.auth0.traffic import Traffic
from poller.sandbox.clock import Clock
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLedger, FakeLog, FakeSink, numbered
from tests.paths import DATA

GOLDEN = DATA / "golden"
ADA = {
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "nickname": "ada",
    "phone_number": "+15550100",
    "picture": "https://cdn.example.com/ada.png",
    "created_at": "2020-01-02T03:04:05.678Z",
    "logins_count": 42,
    "last_login": "2026-11-20T11:00:00.000Z",
}
"""The profile of everyone in the samples whose user id ends with an odd digit."""
PRIVATE = Privacy(email="hmac", ip="truncate", user_agent="omit", hmac_key=b"golden")
VARIANTS: Mapping[str, Rules] = {
    "rule": Rules(preset="rule"),
    "rule-changes": Rules(preset="rule", identify="changes"),
    "spec": Rules(preset="spec"),
    "spec-changes-private": Rules(preset="spec", identify="changes", privacy=PRIVATE),
}
CASES = [(source, variant) for source in ("samples", "hour") for variant in VARIANTS]


class StoppedClock(Clock):
    """A clock of the sandbox that stands still."""

    def now(self) -> datetime:
        return NOW


def samples() -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """Return the recorded log events in id order, and the profiles of half their users."""
    payloads = [
        content["payload"]
        for path in sorted((DATA / "auth0-samples").glob("*.json"))
        if (content := json.loads(path.read_text()))["_kind"].startswith("log")
    ]
    records = [
        each
        for payload in payloads
        for each in (payload if isinstance(payload, list) else [payload])
    ]
    records = [
        {"log_id": numbered(number)} | record for number, record in enumerate(records, start=1)
    ]
    records.sort(key=lambda record: str(record["log_id"]))
    users = {str(record.get("user_id", "")) for record in records}
    return records, {user: ADA for user in users if user[-1:] in set("13579")}


def hour() -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """Return an hour of the sandbox's log, always the same, and the profiles of its users."""
    tenant = Tenant(StoppedClock(), seed=7)
    Traffic(tenant, seed=7).grow(350, start=NOW - timedelta(hours=1), end=NOW)
    records = [entry.draw(tenant.domain) for entry in tenant.entries()]
    return records, {user.user_id: user.profile() for user in tenant.users.values()}


def calls(source: str, variant: str) -> Iterator[str]:
    """Yield each call as a line of JSON, spelled as the request to Segment spells it."""
    records, profiles = samples() if source == "samples" else hour()
    sink, ledger = FakeSink(), FakeLedger()
    translator = LiveTranslator(STREAM, VARIANTS[variant])
    pages = forward(
        FakeLog(records),
        FakeDirectory(profiles),
        translator,
        BatchSender(sink),
        ledger,
        ledger.begin(after=EARLIEST),
    )
    settled = len(list(takewhile(_has_events, pages)))
    assert settled == -(-len(records) // 100)
    encoder = MessageEncoder()
    return (_line(encoder, message) for message in sink.taken)


def _has_events(page: Any) -> bool:
    return bool(page.settlement.page.events)


def _line(encoder: MessageEncoder, message: Message) -> str:
    built = json.loads(encoder.encode(message))
    del built["context"]["library"]  # names the version of Segment's library
    return json.dumps(built)


def text_of(source: str, variant: str) -> str:
    return "".join(f"{line}\n" for line in calls(source, variant))


@pytest.mark.parametrize(("source", "variant"), CASES)
def test_the_calls_are_byte_for_byte_the_golden_ones(source: str, variant: str) -> None:
    golden = (GOLDEN / f"{source}-{variant}.ndjson").read_bytes()
    assert golden.count(b"\n") > 10
    assert text_of(source, variant).encode() == golden


def test_every_golden_file_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.ndjson")} == {
        f"{source}-{variant}" for source, variant in CASES
    }


if __name__ == "__main__":
    for each_source, each_variant in CASES:
        (GOLDEN / f"{each_source}-{each_variant}.ndjson").write_text(
            text_of(each_source, each_variant)
        )
