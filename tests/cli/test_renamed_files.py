"""Settings files of routes that get other names, or routes of each other."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.route_files import lost_routes, other_files
from poller.adapters.sql_ledger.routes import keep_routes, read_routing
from poller.adapters.sql_ledger.tables.routing import RecordedRoute, rows_by_file
from poller.cli.wiring.ledgers import Ledgers
from poller.cli.wiring.routes import others_of, routing_since
from poller.config import Settings, load_settings, read_pipeline
from poller.core.errors import NotYetError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST
from poller.core.messages import Track
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.lifecycle.process import Process
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.builders import live_of
from tests.cli.routed_tenant import STREAMS, Tenant, routes
from tests.fakes import NOW, STREAM

Routes = tuple[RecordedRoute, ...]
Files = dict[str, Routes]
NAMES = ("acme", "beta", "gamma")


class TenantOfFiles(Tenant):
    """A tenant of several settings files with routes. Each file divides all events."""

    def __init__(self, path: Path, url: str = "") -> None:
        super().__init__(path, url)
        self.files: Files = {}

    def begin(self, files: Files, order: Sequence[str]) -> None:
        """Stop all files, and start these, in this order. A file that has to wait tries again."""
        self.files = files
        waiting, tries = [*order], 0
        while waiting:
            file = waiting.pop(0)
            try:
                self.keep(file)
            except NotYetError:
                waiting.append(file)
            tries += 1
            assert tries < 20
        self.routes = tuple(each for file in order for each in files[file])
        self.ledgers = {
            each.stream: SqlLedger.open(
                *(self.database.shown, each.stream),
                create=True,
                neighbours={*STREAMS} - {each.stream},
                database=self.database,
            )
            for each in self.routes
        }
        for ledger in self.ledgers.values():
            if live_of(ledger) is None:
                ledger.begin(after=EARLIEST)

    def keep(self, file: str) -> None:
        routes = self.files[file]
        named = {each: {route.stream for route in self.files[each]} for each in self.files}
        others = {each: named.get(each) for each in other_files(self.database, file, routes)}
        lost = lost_routes(self.database, file, routes)
        others |= {each: streams for each, streams in named.items() if lost & streams}
        for first in (None, EARLIEST):
            keep_routes(
                *(self.database, file, routes, NOW, first),
                neighbours=STREAMS,
                others=others,
            )

    def translator(self, stream: Stream, *, is_late: bool = False) -> LiveTranslator:
        file = next(
            file
            for file, routes in self.files.items()
            if any(each.stream == stream for each in routes)
        )
        rows = read_routing(self.database, STREAM.domain, file)
        routing = routing_since(rows, stream) if rows else None
        return LiveTranslator(
            stream, Rules(routing=routing.for_unsettled() if routing and is_late else routing)
        )

    def times(self, *streams: Stream) -> list[int]:
        """Return how often these sources got each event."""
        taken = [
            message.user_id
            for stream in streams
            for message in self.sinks[stream].taken
            if isinstance(message, Track)
        ]
        return [taken.count(str(each["user_id"])) for each in self.log.records]


@pytest.fixture(params=DIALECTS)
def tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TenantOfFiles]:
    made = TenantOfFiles(tmp_path, url_of(request.param, request))
    with closing(made.database):
        yield made


def two_of(first: int, second: int) -> st.SearchStrategy[Routes]:
    """Draw one or two routes, of which the first stream is one."""
    orders = st.sampled_from([[first], [first, second], [second, first]])
    return st.tuples(orders, st.text("abc", min_size=1, max_size=2)).map(
        lambda drawn: routes(*zip(drawn[0], cycle([drawn[1]]), strict=False))
    )


FILES = st.tuples(st.permutations(NAMES), two_of(0, 1), two_of(2, 3)).map(
    lambda drawn: dict(zip(drawn[0], drawn[1:], strict=False))
)
STEPS = st.one_of(
    st.tuples(st.just(Tenant.grow), st.text("abc", min_size=1, max_size=8)),
    st.tuples(st.just(TenantOfFiles.begin), FILES, st.permutations(NAMES)),
    st.tuples(st.just(Tenant.drain), st.integers(0, 3), st.integers(1, 3)),
    st.tuples(st.just(Tenant.catch_up), st.integers(0, 3), st.integers(0, 2)),
)


@given(first=FILES, steps=st.lists(STEPS, max_size=12))
@settings(deadline=None, max_examples=25, phases=(Phase.generate, Phase.shrink))
def test_every_event_reaches_one_route_of_each_file_however_files_are_renamed(
    first: Files, steps: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tenant = TenantOfFiles(Path(folder))
        with closing(tenant.database):
            tenant.begin(first, [*first])
            for step, *arguments in steps:
                if step is TenantOfFiles.begin:
                    files, order = arguments
                    tenant.begin(files, [each for each in order if each in files])
                else:
                    step(tenant, *arguments)
            tenant.finish()
            for pair in (STREAMS[:2], STREAMS[2:]):
                assert set(tenant.times(*pair)) <= {1}


@pytest.mark.parametrize("order", [("acme", "beta"), ("beta", "acme")])
@pytest.mark.parametrize("condition", ["a", "ab"])
def test_two_files_that_swap_their_names_leave_each_route_its_events(
    tenant: TenantOfFiles, order: Sequence[str], condition: str
) -> None:
    tenant.begin({"acme": routes((0, "a"), (1, "")), "beta": routes((2, "b"), (3, ""))}, NAMES[:2])
    tenant.grow("abcabcabc")
    for number, pages in enumerate((1, 2, 3, 0)):
        tenant.drain(number, pages)
    swapped = {"acme": routes((2, "b"), (3, "")), "beta": routes((0, condition), (1, ""))}
    tenant.begin(swapped, order)
    tenant.begin(swapped, order)
    tenant.finish()
    assert {*tenant.times(*STREAMS[:2])} == {*tenant.times(*STREAMS[2:])} == {1}


@pytest.mark.parametrize("order", [("acme", "beta"), ("beta", "acme")])
def test_a_file_with_routes_may_swap_its_name_with_one_without(
    tenant: TenantOfFiles, order: Sequence[str]
) -> None:
    routed, plain = routes((0, "a"), (1, "")), routes((2, ""))
    tenant.begin({"acme": routed, "beta": plain}, NAMES[:2])
    tenant.grow("abcabc")
    tenant.drain(0, 1)
    tenant.drain(2, 1)
    tenant.begin({"acme": plain, "beta": routed}, order)
    tenant.finish()
    assert {*tenant.times(*STREAMS[:2])} == {*tenant.times(*STREAMS[2:])} == {1}


def test_a_file_with_another_name_goes_on_with_its_changes(tenant: TenantOfFiles) -> None:
    tenant.begin({"acme": routes((0, "a"), (1, ""))}, ["acme"])
    tenant.grow("abcabcabc")
    tenant.drain(0, 1)
    tenant.drain(1, 2)
    tenant.begin({"acme": routes((0, "b"), (1, ""))}, ["acme"])
    tenant.begin({"beta": routes((0, "c"), (1, ""))}, ["beta"])
    tenant.finish()
    assert {*tenant.times(*STREAMS[:2])} == {1}


def test_a_route_that_moves_to_another_file_waits_until_its_old_file_has_begun_without_it(
    tenant: TenantOfFiles,
) -> None:
    tenant.begin({"acme": routes((0, "a"), (1, ""))}, ["acme"])
    tenant.grow("aabbaabb")
    tenant.drain(1, None)
    tenant.files = {"acme": routes((1, "")), "beta": routes((0, ""))}
    with pytest.raises(NotYetError, match="moves here"):
        tenant.keep("beta")
    tenant.begin(tenant.files, ["beta", "acme"])
    tenant.finish()
    assert {*tenant.times(STREAMS[1])} == {1}  # what it had ahead was left to the others


def test_a_file_that_names_a_route_of_another_by_mistake_takes_nothing(
    tenant: TenantOfFiles,
) -> None:
    tenant.begin({"acme": routes((0, "a"), (1, ""))}, ["acme"])
    tenant.files |= {"aaa": routes((0, "b"), (2, ""))}
    tenant.keep("aaa")
    (row,) = read_routing(tenant.database, STREAM.domain, "acme")
    assert row.routes == tenant.files["acme"]


def test_a_file_that_takes_a_route_of_a_file_that_is_gone_stays_itself(
    tenant: TenantOfFiles,
) -> None:
    before = {"acme": routes((1, "b"), (3, "")), "beta": routes((0, "a"), (2, ""))}
    tenant.begin(before, NAMES[:2])
    tenant.grow("abc")
    tenant.drain(1, None)
    tenant.begin({"acme": routes((0, "a"), (1, "b"), (3, ""))}, ["acme"])
    former, _ = read_routing(tenant.database, STREAM.domain, "acme")
    assert former.routes == before["acme"]


def write(folder: Path, name: str, *sources: str) -> None:
    text = f'[auth0]\ndomain = "{STREAM.domain}"\nclient_id = "a"\nclient_secret = "s"\n'
    text += f'[state]\nurl = "sqlite:///{folder}/ledger.db"\n'
    for source in sources:
        text += f'[[routes]]\nname = "{source}"\nwrite_key = "key"\nsource_name = "{source}"\n'
        text += "" if source == sources[-1] else "when = \"log.client_id == 'a'\"\n"
    (folder / f"{name}.toml").write_text(text)


def loaded(folder: Path, name: str) -> Settings:
    return load_settings(read_pipeline(folder, name), {"HOME": "/home/ada"})


def file_of_each_route(folder: Path) -> dict[str, str]:
    database = place_of(f"sqlite:///{folder}/ledger.db").open(create=False)
    with closing(database), database.reading() as connection:
        rows = rows_by_file(connection, STREAM.domain)
    return {each.source_name: file for file in rows for each in rows[file][-1].streams}


def open_each(folder: Path, *names: str) -> None:
    ledgers, streams = Ledgers(), [replace(STREAM, source_name=name) for name in "abcd"]
    for name in names:
        with ledgers.opened(loaded(folder, name), Process(), neighbours=streams):
            pass


def test_swapped_and_renamed_files_are_found_by_what_they_name_now(tmp_path: Path) -> None:
    write(tmp_path, "acme", "a", "b")
    write(tmp_path, "beta", "c", "d")
    open_each(tmp_path, "acme.a", "beta.c")
    write(tmp_path, "acme", "c", "d")
    write(tmp_path, "beta", "a", "b")
    with capture_logs() as logs:
        open_each(tmp_path, "acme.d", "beta.a")
    assert [line["now"] for line in logs if line["event"] == "routes.renamed"] == ["acme", "beta"]
    assert file_of_each_route(tmp_path) == {"a": "beta", "b": "beta", "c": "acme", "d": "acme"}
    (tmp_path / "acme.toml").rename(tmp_path / "gamma.toml")
    open_each(tmp_path, "gamma.c", "beta.b")
    assert file_of_each_route(tmp_path)["c"] == "gamma"


def test_a_file_that_cannot_be_read_loses_no_route(tmp_path: Path) -> None:
    write(tmp_path, "acme", "a", "b")
    open_each(tmp_path, "acme.a")
    write(tmp_path, "beta", "a", "b")
    (tmp_path / "acme.toml").write_text("colour = 1\n")
    open_each(tmp_path, "beta.a")
    (tmp_path / "beta.toml").unlink()
    with closing(place_of(f"sqlite:///{tmp_path}/ledger.db").open(create=False)) as database:
        assert len(read_routing(database, STREAM.domain, "acme")) == 1


def test_a_folder_that_may_not_be_looked_at_tells_nothing_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, "acme", "a", "b")
    open_each(tmp_path, "acme.a")
    (tmp_path / "acme.toml").rename(tmp_path / "beta.toml")
    beta = loaded(tmp_path, "beta.a")
    with closing(place_of(f"sqlite:///{tmp_path}/ledger.db").open(create=False)) as database:
        assert others_of(beta, database) == {"acme": None}
        monkeypatch.setattr(Path, "exists", refuse)
        assert others_of(beta, database) == {}


def test_a_renamed_file_waits_for_the_pipelines_of_its_old_name(tmp_path: Path) -> None:
    write(tmp_path, "acme", "a", "b")
    old = loaded(tmp_path, "acme.b")
    ledgers, streams = Ledgers(), [replace(STREAM, source_name=name) for name in "ab"]
    with ledgers.opened(old, Process(), neighbours=streams):
        (tmp_path / "acme.toml").rename(tmp_path / "beta.toml")
        new = loaded(tmp_path, "beta.a")
        with (
            pytest.raises(NotYetError, match=r"acme\.toml still works"),
            ledgers.opened(new, Process(), neighbours=streams),
        ):
            pytest.fail("it was opened")
    with ledgers.opened(new, Process(), neighbours=streams):
        pass


def test_a_file_that_names_a_route_of_another_by_mistake_waits_for_nobody(tmp_path: Path) -> None:
    write(tmp_path, "acme", "a", "b")
    write(tmp_path, "zzz", "a", "c")
    ledgers, streams = Ledgers(), [replace(STREAM, source_name=name) for name in "abc"]
    with (
        ledgers.opened(loaded(tmp_path, "acme.a"), Process(), neighbours=streams),
        ledgers.opened(loaded(tmp_path, "zzz.c"), Process(), neighbours=streams),
    ):
        pass
