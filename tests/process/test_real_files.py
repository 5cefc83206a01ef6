"""Files as others have published them: each is read as its table says."""

from pathlib import Path

import pytest

from tests import paths
from tests.process.bench import Bench, MakeBench, messages, sent

DATA = paths.DATA / "files"


def tracks(bench: Bench) -> list[str]:
    """The names of the tracks that arrived, in order."""
    return sorted(
        str(message["event"]) for message in messages(bench) if message["type"] == "track"
    )


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


def test_files_are_found_in_a_folder_and_in_a_list(make: MakeBench, tmp_path: Path) -> None:
    bench = make()
    folder, listed = tmp_path / "logs", tmp_path / "list"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").write_text("no log")
    (folder / "deep" / "a.json").write_text((DATA / "mapped-address.json").read_text())
    listed.write_text(f"{DATA / 'api-answer-with-totals.json'}\n")
    ended, (plan, *_) = sent(
        bench, "--new", "--no-identify", "--parallel", "1", "--files-from", listed, folder
    )
    assert ended.code == 0, ended.err
    assert [Path(file["file"]).name for file in plan["files"]] == [
        "a.json",
        "api-answer-with-totals.json",
    ]
    assert tracks(bench) == ["Logged In"] * 2 + ["Signed Up"]  # one login stands in both


def test_a_settled_file_is_read_again_only_when_told(make: MakeBench) -> None:
    bench = make()
    file = DATA / "embedded-passwordless.json"
    assert sent(bench, "--new", "--no-identify", file)[0].code == 0
    assert tracks(bench) == []
    bench.write_settings(logins__types=["s", "scoa"])
    assert sent(bench, "--no-identify", file)[1][-1]["read"] == 0
    ended, (*_, count) = sent(bench, "--no-identify", "--read-again", file)
    assert (ended.code, count["read"]) == (0, 1), ended.err
    assert tracks(bench) == ["Logged In", "Signed Up"]
    assert sent(bench, "--no-identify", "--read-again", file)[0].code == 0


def test_a_file_of_another_tenant_is_refused(make: MakeBench, tmp_path: Path) -> None:
    bench = make()
    file = tmp_path / "log.json"
    file.write_text(
        (DATA / "mapped-address.json")
        .read_text()
        .replace('"type"', '"tenant_name": "stranger", "type"')
    )
    ended, (_, count, _) = sent(bench, "--new", "--no-identify", file)
    assert (ended.code, count["offset"], tracks(bench)) == (3, 0, [])
    assert "'stranger'" in count["problem"]
    assert sent(bench, "--no-identify", "--any-tenant", file)[0].code == 0
    assert tracks(bench) == ["Logged In"]
