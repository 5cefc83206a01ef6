"""A scrape holds the declared metrics, and nothing else."""

import re
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from poller.core.log_ids import EARLIEST, floor_id
from poller.core.spans import Span
from poller.service.observability.instrumented import SegmentCounts
from poller.service.observability.meter import Meter
from poller.service.observability.metrics import METRICS, PREFIX, Metric
from tests.fakes import NOW, STREAM

BASE_UNITS = (
    *("_seconds", "_total", "_info", "_requests", "_messages", "_in_hand", "_blocked"),
    *("_pages", "_slices", "_failed"),
)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def full_meter() -> Meter:
    """Return a meter with a value for every metric."""
    meter = Meter(["s"], version="1.2", now=lambda: NOW)
    meter.requests_to("auth0")("/api/v2/logs", 200, 0.1)
    meter.set_rate_limit("logs", limit=50, remaining=10)
    meter.add_wait("logs", 1.5)
    meter.set_retention(timedelta(days=2))
    by_reason = {"unplanned": 1}
    meter.set_segment_counts(
        SegmentCounts(
            at=NOW, acknowledged=9, received=7, missing=3, failed=by_reason, filtered=by_reason
        )
    )
    meter.start_at(Span(id=1, stream=STREAM, after=EARLIEST, reached=floor_id(NOW), drained_at=NOW))
    return meter


def scrape(meter: Meter) -> str:
    return generate_latest(meter.registry).decode()


def families(meter: Meter) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(scrape(meter))
    }


def test_a_scrape_holds_every_metric_with_its_type_labels_and_help() -> None:
    text = scrape(full_meter())
    # The endpoint of a folder adds one metric more, for a pipeline that has no meter.
    metered = [metric for metric in METRICS if metric.short_name != "failed"]
    assert set(re.findall(rf"^# TYPE ({PREFIX}\S+)", text, re.MULTILINE)) == {
        metric.name for metric in metered
    }
    for metric in metered:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
        suffix = "_sum" if metric.kind == "histogram" else ""
        labels = {
            name
            for line in re.findall(rf"^{metric.name}{suffix}(\{{.*?\}})? ", text, re.MULTILINE)
            for name in re.findall(r'(\w+)="', line)
        }
        assert labels == set(metric.labels), metric.name
        assert re.search(rf"^{metric.name}{suffix}[ {{]", text, re.MULTILINE), metric.name


@pytest.mark.process
@needs_promtool
def test_promtool_has_nothing_to_say_about_a_scrape() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - as PATH has it
        input=scrape(full_meter()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus(metric: Metric) -> None:
    assert re.fullmatch(rf"{PREFIX}[a-z_]+", metric.name)
    assert metric.name.endswith(BASE_UNITS)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)


def test_no_label_names_a_person_or_a_log_id() -> None:
    assert {label for metric in METRICS for label in metric.labels} == {
        "type",
        "kind",
        "service",
        "call",
        "outcome",
        "endpoint",
        "version",
        "reason",
    }


def test_a_metric_is_absent_until_its_value_is_known() -> None:
    told = families(Meter())
    ages = ("lag_seconds", "freshness_seconds", "position_age_seconds", "retention_seconds")
    for name in (*ages, "rate_limit_requests"):
        assert told[PREFIX + name] == []
    assert told[PREFIX + "last_success_timestamp_seconds"][0][2] == 0
    assert told[PREFIX + "blocked"][0][2] == 0


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    meter = full_meter()
    for seconds in (0.3, 3.0, 300.0):
        meter.requests_to("auth0")("/api/v2/logs", 200, seconds)
    told = families(meter)[PREFIX + "request_duration_seconds"]
    buckets = [(labels["le"], value) for name, labels, value in told if name.endswith("_bucket")]
    values = [value for _, value in buckets]
    assert buckets[0][0] == "0.05"
    assert values == sorted(values)
    assert buckets[-1] == ("+Inf", 4.0)


def test_a_scrape_takes_the_counts_of_events_once() -> None:
    class Moving(Meter):
        looks = 0

        def __getattribute__(self, name: str) -> object:
            if name == "events":
                Moving.looks += 1
            return super().__getattribute__(name)

    meter = Moving()
    scrape(meter)
    assert Moving.looks == 1


@pytest.mark.process
def test_a_process_without_a_listener_does_not_import_the_library() -> None:
    program = (
        "import sys, poller.cli.commands.run, poller.cli.commands.backfill;"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
