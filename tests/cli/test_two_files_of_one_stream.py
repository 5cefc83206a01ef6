"""Two settings files of a folder that name one stream, and files that give a stream away."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from poller.cli.commands import run as run_module
from poller.cli.pipelines import running
from poller.cli.pipelines.table import Prepared, check_lines, refuse_second, status_lines
from poller.cli.pipelines.worker import WorkerFolder
from poller.cli.settings_file import SettingsFile
from poller.cli.views.check import CheckReport
from poller.cli.views.status import StatusReport
from poller.cli.wiring.services import stream_of
from poller.config import Settings, load_settings, read_pipeline
from poller.core.errors import FatalError
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.systemd import Notifier, Supervisor
from tests.cli.folder_bench import REFUSED, Bench, bench_of

REFUSAL = (
    "the pipeline second (second.toml) names the tenant, the source and the generation of "
    "first (first.toml). Only first runs, because its name comes first"
)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return bench_of(tmp_path, monkeypatch)


def refusals(logs: list[dict[str, Any]]) -> list[str]:
    return [str(line["reason"]) for line in logs if line["event"] == "pipeline.failed"]


def with_two_of_one_stream(bench: Bench, *, order: Sequence[str] = ()) -> None:
    bench.write("first", source="web")
    bench.write("second", source="web")
    bench.start(order)


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_the_first_by_name_of_two_files_of_one_stream_runs_whichever_begins_first(
    bench: Bench, order: tuple[str, str]
) -> None:
    with_two_of_one_stream(bench, order=order)
    assert bench.opened.keys() == {"first"}
    failed = bench.condition("second")
    assert (failed.kind, failed.code) == ("failed", "settings-invalid")
    assert failed.reason == REFUSAL
    assert "remove one of them. Then send SIGHUP" in str(failed.hint)


def test_the_second_of_one_stream_does_not_run_while_the_first_fails(bench: Bench) -> None:
    with_two_of_one_stream(bench)
    bench.interrupt("first", REFUSED)
    bench.error = REFUSED
    bench.step("first")
    bench.step("first")
    bench.error = None
    bench.step("second")
    assert not bench.opened
    bench.step("first")
    assert bench.opened.keys() == {"first"}


@pytest.mark.parametrize("is_failing", [False, True])
def test_the_second_of_one_stream_takes_over_at_once_when_the_first_is_removed(
    bench: Bench, is_failing: bool
) -> None:
    bench.error = REFUSED if is_failing else None
    with_two_of_one_stream(bench)
    bench.error = None
    (bench.path / "first.toml").unlink()
    bench.woken.clear()
    bench.folder.reload()
    bench.step_woken()
    assert bench.opened.keys() == {"second"}


def test_the_second_of_one_stream_runs_once_the_first_names_another_one(bench: Bench) -> None:
    with_two_of_one_stream(bench)
    bench.write("first", source="shop")
    bench.woken.clear()
    bench.folder.reload()
    bench.step_woken()
    assert bench.opened.keys() == {"first", "second"}


def test_a_new_file_that_comes_first_takes_over_without_a_false_alarm(bench: Bench) -> None:
    bench.write("second", source="web")
    bench.start()
    bench.write("first", source="web")
    with capture_logs() as logs:
        bench.folder.reload()
        bench.step("first")  # `second` is not closed yet
        assert not refusals(logs)
        bench.step("second")
        bench.step("first")
    assert bench.told == ["second opened", "second closed", "first opened"]
    (refused,) = refusals(logs)
    assert refused.startswith("the pipeline second ")


def test_a_mistake_names_no_stream_until_it_is_corrected(bench: Bench) -> None:
    bench.write("first", source="web", more="colour = 1\n")
    bench.write("second", source="web")
    bench.start()
    assert bench.opened.keys() == {"second"}
    bench.write("first", source="web")
    bench.woken.clear()
    bench.step("first")
    bench.step_woken()
    bench.step_woken()
    assert bench.opened.keys() == {"first"}
    assert bench.condition("second").kind == "failed"


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_two_files_swap_their_streams_without_a_false_alarm(
    bench: Bench, order: tuple[str, str]
) -> None:
    bench.write("a", source="web")
    bench.write("b", source="shop")
    bench.start()
    bench.write("a", source="shop")
    bench.write("b", source="web")
    with capture_logs() as logs:
        bench.folder.reload()
        bench.step_each(order)
        bench.step_woken()
    sources = {name: each.settings.segment.source_name for name, each in bench.opened.items()}
    assert sources == {"a": "shop", "b": "web"}
    assert not refusals(logs)
    assert {bench.condition(name).kind for name in "ab"} == {"starting"}


def test_a_renamed_file_waits_until_its_stream_is_closed(bench: Bench) -> None:
    bench.write("old", source="web")
    bench.start()
    (bench.path / "old.toml").rename(bench.path / "new.toml")
    with capture_logs() as logs:
        bench.folder.reload()
        bench.step_each(("new", "old"))
        bench.step_woken()
    assert bench.told == ["old opened", "old closed", "new opened"]
    assert not refusals(logs)


def begun(bench: Bench, *names: str) -> WorkerFolder:
    """Begin the pipelines in a worker. They need no lease here."""
    bench.make()
    worker = bench.folder
    assert isinstance(worker, WorkerFolder)
    worker.join(cast("Any", None), "")
    worker._share = 9
    for name in names:
        worker.begin(name, lambda: None)
    bench.step_each(names)
    return worker


def test_a_worker_refuses_the_second_of_one_stream_even_if_another_worker_has_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(tmp_path, monkeypatch, WorkerFolder)
    bench.write("second", source="web")
    worker = begun(bench, "second")
    assert bench.opened.keys() == {"second"}
    bench.write("first", source="web")
    bench.woken.clear()
    worker.keeps("second")
    bench.step_woken()
    assert not bench.opened
    assert bench.condition("second").reason == REFUSAL
    bench.write("first", source="shop")
    worker.keeps("second")
    bench.step_woken()
    assert bench.opened.keys() == {"second"}


def test_a_file_that_gets_a_mistake_keeps_its_stream_in_a_worker_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(tmp_path, monkeypatch, WorkerFolder)
    bench.write("first", source="web")
    bench.write("second", source="web")
    worker = begun(bench, "second", "first")
    bench.write("first", source="web", more="colour = 1\n")
    for name in ("first", "second"):
        worker.keeps(name)
    bench.step_each(("second", "first"))
    assert bench.opened.keys() == {"first"}


def test_check_refuses_the_pipeline_that_run_would_refuse(bench: Bench) -> None:
    bench.write("first", source="web")
    bench.write("second", source="web")
    lines = list(check_lines(bench.path, ("first", "second"), well))
    assert {each.pipeline: each.text for each in lines} == {"first": None, "second": REFUSAL}
    assert refused(bench.path, "first") is None
    assert refused(bench.path, "second") == REFUSAL


def test_status_shows_no_pipeline_by_the_numbers_of_another_one(bench: Bench) -> None:
    bench.write_defaults(f'[state]\nurl = "sqlite:///{bench.path}/shared.db"\n')
    bench.write("first", source="web")
    bench.write("second", source="web")
    (bench.path / "shared.db").touch()
    read = list[str]()

    def collect(settings: Settings) -> StatusReport:
        read.append(settings.pipeline)
        return StatusReport(
            ledger="x", version="0", daemon=None, standby=None, last_fatal_error=None, streams=()
        )

    lines = status_lines(bench.path, ("first", "second"), collect, strict=False)
    assert {each.pipeline: each.text for each in lines} == {"first": None, "second": REFUSAL}
    assert read == ["first"]


WHEN = "when = \"log.client_id == 'shop'\"\n"


def well(file: SettingsFile) -> Prepared:
    """Prepare a check that finds nothing."""
    report = CheckReport(code=ExitCode.DONE, findings=())
    return stream_of(load_settings(file.content, dict(os.environ))), lambda: report


def refused(path: Path, name: str | None = None) -> str | None:
    try:
        refuse_second(SettingsFile(path, name))
    except FatalError as error:
        return str(error)
    return None


def test_a_file_beside_the_defaults_is_refused_by_its_own_name_too(bench: Bench) -> None:
    bench.write("first", source="web")
    bench.write("second", source="web")
    assert refused(bench.path / "second.toml") == REFUSAL
    assert refused(bench.path / "first.toml") is None
    bench.write("first", source="web", more="colour = 1\n")
    assert refused(bench.path / "second.toml") is None
    bench.write("first", source="web")
    (bench.path / "_defaults.toml").unlink()  # the files have nothing to do with each other
    assert refused(bench.path / "second.toml") is None


def test_run_refuses_the_second_file_by_its_own_name_and_writes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "read_settings", lambda _: pytest.fail("it goes on"))
    ledger = bench.path / "shared.db"
    bench.write_defaults(f'[state]\nurl = "sqlite:///{ledger}"\n')
    bench.write("first", source="web")
    bench.write("second", source="web")
    for options in ([], ["--once"]):
        ran = CliRunner().invoke(
            run_module.run, [*options, "--config", f"{bench.path}/second.toml"]
        )
        assert isinstance(ran.exception, FatalError)
        assert str(ran.exception) == REFUSAL
    assert not ledger.exists()


def test_a_file_that_becomes_the_second_one_of_a_stream_goes_on_with_its_old_settings(
    bench: Bench,
) -> None:
    path = bench.path / "second.toml"
    bench.write("first", source="web")
    bench.write("second")
    current = [load_settings(read_pipeline(bench.path, "second"), {"HOME": "/home/ada"})]
    bench.write("second", source="web")
    supervisor, pipeline = Supervisor(Notifier(None), Heartbeat()), cast("Any", None)
    with capture_logs() as logs:
        running._read_again(path, current, pipeline, supervisor)
    assert [line["problems"] for line in logs] == [[REFUSAL]]
    assert current[0].segment.source_name == "second"


def test_a_route_is_refused_whose_stream_another_file_of_the_folder_has(bench: Bench) -> None:
    bench.write("first", source="web")
    tenant = '[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "id"\nclient_secret = "s"\n'
    routes = '[[routes]]\nname = "{0}"\nwrite_key = "{0}"\nsource_name = "{0}"\n'
    path = bench.path / "second.toml"
    path.write_text(tenant + routes.format("web") + WHEN + routes.format("app"))
    lines = check_lines(path, ("second.app", "second.web"), well)
    texts = {each.pipeline: each.text for each in lines}
    assert texts["second.app"] is None
    assert "first (first.toml). Only first runs" in str(texts["second.web"])
    bench.path = path
    bench.start()
    assert bench.opened.keys() == {"second.app"}


@pytest.mark.parametrize("keys", ["beside the files", "nowhere", "of one file by systemd"])
def test_sources_without_a_name_are_two_sources_even_if_no_key_can_be_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    tenant = '[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "id"\n'
    for name in ("first", "second"):
        (bench.path / f"{name}.toml").write_text(tenant)
        if keys == "beside the files":
            (bench.path / f"{name}.credentials").mkdir()
            (bench.path / f"{name}.credentials/segment_write_key").write_text(name)
    if keys == "of one file by systemd":
        (bench.path / "segment_write_key").write_text("second")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(bench.path))
    assert refused(bench.path / "second.toml") is None
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    report = StatusReport(
        ledger="x", version="0", daemon=None, standby=None, last_fatal_error=None, streams=()
    )
    lines = status_lines(bench.path, ("first", "second"), lambda _: report, strict=False)
    assert {each.state for each in lines} == {"new"}
