"""Files as others have published them: each is read as its table says."""

from pathlib import Path

import pytest

from tests.e2e.bench import Bench
from tests.e2e.conftest import MakeBench
from tests.e2e.test_backfill import messages
from tests.e2e.test_from_file import sent

DATA = Path(__file__).parent.parent / "data" / "files"


def tracks(bench: Bench) -> list[str]:
    """The names of the tracks that arrived, in order."""
    return sorted(str(message["event"]) for message in messages(bench) if message["type"] == "track")


@pytest.mark.parametrize(
    ("name", "signups", "logins", "code"),
    [
        ("type-is-a-name.ndjson", 1, 2, 0),
        ("ids-below-900.ndjson", 0, 4, 0),
        ("dates-out-of-reason.ndjson", 3, 4, 0),
        ("api-answer-with-totals.json", 1, 2, 0),
        ("time-stamp-before-json.log", 1, 2, 0),
        ("torn-last-line.ndjson", 1, 2, 3),
        ("terminal-escapes.json", 0, 0, 3),
        ("mapped-address.json", 0, 1, 0),
    ],
)
def test_a_published_file_is_sent_as_its_table_says(
    make: MakeBench, name: str, signups: int, logins: int, code: int
) -> None:
    bench = make()
    ended, (*_, count) = sent(bench, "--new", "--no-identify", DATA / name)
    assert ended.code == code, ended.err
    assert tracks(bench) == ["Logged In"] * logins + ["Signed Up"] * signups
    assert count["outside"] == 0
    assert "\x1b" not in ended.out + ended.err
