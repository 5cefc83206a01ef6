"""What is declared is what is told, and nothing else."""

import re
import subprocess
import sys
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from poller.service.observability.meter import Meter
from poller.service.observability.metrics import METRICS, PREFIX, MeterCollector, registry_of
from tests.fakes import NOW

BASE_UNITS = ("_seconds", "_total", "_info", "_requests", "_in_hand", "_blocked")


def full_meter() -> Meter:
    """One that has something to say of everything."""
    meter = Meter(["s"], now=lambda: NOW)
    meter.requests("auth0", {"/": "logs"})("/", 200, 0.1)
    meter.limited("logs", limit=50, remaining=10)
    meter.waited("logs", 1.5)
    meter.measured(timedelta(days=2))
    meter._swap(caught_up_at=NOW, position_at=NOW, succeeded_at=NOW)
    return meter


def families(meter: Meter) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    text = generate_latest(registry_of(meter, "1.2")).decode()
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_every_metric_is_told_with_its_name_type_labels_and_help() -> None:
    text = generate_latest(registry_of(full_meter(), "1.2")).decode()
    assert set(re.findall(rf"^# TYPE ({PREFIX}\S+)", text, re.MULTILINE)) == {
        metric.name for metric in METRICS
    }
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
        suffix = "_sum" if metric.kind == "histogram" else ""
        labels = {
            name
            for line in re.findall(rf"^{metric.name}{suffix}(\{{.*?\}})? ", text, re.MULTILINE)
            for name in re.findall(r'(\w+)="', line)
        }
        assert labels == set(metric.labels), metric.name
        assert re.search(rf"^{metric.name}{suffix}[ {{]", text, re.MULTILINE), metric.name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus(metric: object) -> None:
    name = getattr(metric, "name", "")
    assert re.fullmatch(rf"{PREFIX}[a-z_]+", name)
    assert name.endswith(BASE_UNITS)
    assert (getattr(metric, "kind", "") == "counter") == name.endswith("_total")


def test_nobody_and_no_log_id_is_a_label() -> None:
    assert {label for metric in METRICS for label in metric.labels} == {
        "type",
        "kind",
        "service",
        "call",
        "outcome",
        "bucket",
        "version",
    }


def test_nothing_is_said_of_what_is_not_known_yet() -> None:
    told = families(Meter())
    for name in ("lag_seconds", "position_age_seconds", "retention_seconds", "rate_limit_requests"):
        assert told[PREFIX + name] == []
    assert told[PREFIX + "last_success_timestamp_seconds"][0][2] == 0


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    meter = full_meter()
    for seconds in (0.3, 3.0, 300.0):
        meter._requested(next(iter(meter.snapshot.requests)), seconds)
    told = families(meter)[PREFIX + "request_duration_seconds"]
    buckets = [(labels["le"], value) for name, labels, value in told if name.endswith("_bucket")]
    values = [value for _, value in buckets]
    assert buckets[0][0] == "0.05"
    assert values == sorted(values)
    assert buckets[-1] == ("+Inf", 4.0)
    assert {name.rpartition("_")[2]: value for name, _, value in told if "bucket" not in name}[
        "count"
    ] == 4.0


def test_a_scrape_looks_once() -> None:
    class Moving(Meter):
        looks = 0

        @property
        def snapshot(self) -> object:  # type: ignore[override]  # counts the looks
            self.looks += 1
            return super().snapshot

    meter = Moving()
    list(MeterCollector(meter, "1").collect())
    assert meter.looks == 1


def test_the_library_is_not_imported_by_who_does_not_listen() -> None:
    program = "import sys, poller.cli; assert 'prometheus_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
