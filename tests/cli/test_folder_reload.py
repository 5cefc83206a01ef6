"""The pipelines of a folder: which are opened, by which settings, and what a reload changes."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.cli.commands.status import collect
from poller.cli.pipelines.table import status_lines
from poller.config import pipeline_names
from poller.core.errors import FatalError
from poller.core.events import Stream
from tests.cli.folder_bench import REFUSED, Bench, bench_of

ROUTED = '[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "id"\nclient_secret = "s"\n'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return bench_of(tmp_path, monkeypatch)


def test_a_pipeline_knows_the_streams_of_all_others(bench: Bench) -> None:
    for name in "abc":
        bench.write(name)
    bench.write("typo", more="colour = 1\n")
    bench.start()
    names = {
        name: {each.source_name for each in one.neighbours} for name, one in bench.opened.items()
    }
    assert names == {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}


def test_many_pipelines_share_the_memory_of_events(bench: Bench) -> None:
    for number in range(40):
        bench.write(f"p{number}")
    bench.start()
    assert {each.post.feed.most for each in bench.folder.members.values()} == {500}


def test_a_file_with_a_mistake_lets_the_old_settings_go_on(bench: Bench) -> None:
    bench.write("acme")
    bench.start()
    before = bench.opened["acme"]
    bench.write("acme", more="colour = 1\n")
    with capture_logs() as logs:
        bench.reload()
    assert bench.opened["acme"] is before
    assert bench.told == ["acme opened"]
    (refused,) = [line for line in logs if line["event"] == "settings.refused"]
    assert (refused["pipeline"], refused["note"]) == ("acme", "the old settings go on")
    bench.write("acme", more='[poll]\ninterval = "7s"\n')
    bench.reload()
    assert bench.opened["acme"].settings.poll.interval == timedelta(seconds=7)


def test_a_mistake_in_the_defaults_changes_nothing(bench: Bench) -> None:
    bench.write("acme")
    bench.write("gone")
    bench.start()
    bench.write_defaults("[poll")
    (bench.path / "gone.toml").unlink()
    bench.reload()
    assert bench.told == ["acme opened", "gone opened"]


def test_a_reload_opens_anew_only_what_has_changed(bench: Bench) -> None:
    bench.write("same")
    bench.write("changed")
    bench.start()
    bench.told.clear()
    bench.write("changed", more='[poll]\ninterval = "7s"\n')
    with capture_logs() as logs:
        bench.reload()
    assert bench.told == ["changed closed", "changed opened"]
    assert bench.opened["changed"].settings.poll.interval == timedelta(seconds=7)
    (read,) = [line for line in logs if line["event"] == "settings.read"]
    assert (read["added"], read["changed"], read["removed"], read["refused"]) == (0, 1, 0, 0)


def test_a_reload_begins_new_files_and_ends_removed_ones(bench: Bench) -> None:
    bench.write("gone")
    bench.write("stays")
    bench.start()
    bench.told.clear()
    bench.write("new")
    (bench.path / "gone.toml").unlink()
    bench.reload()
    assert sorted(bench.told) == ["gone closed", "new opened"]
    assert bench.folder.members.keys() == {"new", "stays"}
    assert {each.name for each in bench.pipelines} == {"new", "stays"}


def test_a_file_that_comes_back_before_its_pipeline_is_closed_opens_it_anew(bench: Bench) -> None:
    bench.write("acme")
    bench.write("stays")
    bench.start()
    bench.told.clear()
    (bench.path / "acme.toml").unlink()
    bench.folder.reload()
    bench.write("acme", more='[poll]\ninterval = "7s"\n')
    bench.reload()
    assert bench.told == ["acme closed", "acme opened"]
    assert bench.opened["acme"].settings.poll.interval == timedelta(seconds=7)


def test_one_pipeline_never_pings_the_switch_that_all_share(bench: Bench) -> None:
    bench.write_defaults('[alerts]\nheartbeat_url = "https://hc.example/all"\n')
    bench.write("shares")
    bench.write("own", more='[alerts]\nheartbeat_url = "https://hc.example/own"\n')
    bench.start()
    assert bench.opened["shares"].settings.alerts.heartbeat_url is None
    own = bench.opened["own"].settings.alerts.heartbeat_url
    assert own is not None
    assert own.get_secret_value() == "https://hc.example/own"


def ledger(bench: Bench, name: str) -> str:
    """Make a ledger, and return its URL."""
    url = f"sqlite:///{bench.path}/{name}.db"
    SqlLedger.open(url, stream("acme"), create=True).close()
    return url


def stream(name: str) -> Stream:
    return Stream(domain="acme.us.auth0.com", source_name=name, generation="")


def error_in(url: str, name: str = "acme") -> str | None:
    with closing(LedgerReader.open(url)) as reader:
        recorded = reader.fatal_exit(stream(name))
    return recorded and recorded.code


def lines(bench: Bench) -> dict[str, tuple[str, str | None]]:
    """Return the state of each pipeline by `status`, and the code of its error."""
    found = status_lines(
        bench.path,
        pipeline_names(bench.path),
        lambda settings: collect(settings, datetime.now(UTC)),
        strict=False,
    )
    return {each.pipeline: (each.state, each.error) for each in found}


def test_status_shows_the_error_of_a_pipeline_that_cannot_be_opened(bench: Bench) -> None:
    url = ledger(bench, "own")
    bench.write("acme", more=f'[state]\nurl = "{url}"\n')
    bench.error = REFUSED
    bench.start()
    assert error_in(url) == "ledger-inaccessible"


def test_each_pipeline_of_one_ledger_has_an_error_of_its_own(bench: Bench) -> None:
    url = ledger(bench, "shared")
    bench.write_defaults(f'[state]\nurl = "{url}"\n')
    bench.write("acme")
    bench.write("globex", more=f'[state]\nurl = "{url.replace("shared", "./shared")}"\n')
    bench.write("initech")
    bench.opens_ledgers = True
    bench.errors = {
        "acme": REFUSED,
        "globex": FatalError("the key is wrong", code="auth0-credentials-refused", hint="look"),
    }
    bench.start()
    states = {
        "acme": ("failed", "ledger-inaccessible"),
        "globex": ("failed", "auth0-credentials-refused"),
        "initech": ("running", None),
    }
    assert lines(bench) == states
    bench.errors["globex"] = REFUSED  # while another pipeline has the ledger open
    bench.step("globex")
    assert lines(bench) == states | {"globex": ("failed", REFUSED.code)}
    del bench.errors["acme"]
    bench.step("acme")
    assert lines(bench)["acme"][0] == "failed"  # no cycle has succeeded since
    with closing(SqlLedger.open(url, stream("acme"), create=False)) as opened:
        opened.note_cycle(at=datetime.now(UTC), error=None)
    assert lines(bench)["acme"] == ("running", None)
    assert error_in(url, "globex") == REFUSED.code


def test_the_refusal_of_a_second_file_is_no_error_of_the_stream(bench: Bench) -> None:
    url = ledger(bench, "shared")
    bench.write_defaults(f'[state]\nurl = "{url}"\n')
    for name in ("first", "second"):
        bench.write(name, source="acme")
    bench.opens_ledgers = True
    bench.start()
    assert error_in(url) is None
    assert lines(bench) == {"first": ("running", None), "second": ("unusable", "settings-invalid")}
