"""The metrics and the health of many pipelines in one answer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from poller.service.observability.http_endpoint import (
    EXPOSITION,
    Health,
    Query,
    Response,
    Routes,
    health_response,
)
from poller.service.observability.meter import Meter, add_process
from poller.service.observability.metrics import METRICS
from poller.service.observability.systemd import Supervisor

LABEL = "pipeline"
_MOST_NAMES = 20
_FAILED = next(metric for metric in METRICS if metric.short_name == "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A pipeline as the endpoint sees it."""

    meter: Meter
    health: Health
    supervisor: Supervisor

    @property
    def has_failed(self) -> bool:
        """Return whether an error keeps the pipeline from being open."""
        return self.supervisor.condition.kind == "failed"

    def readiness_problem(self) -> str | None:
        """Return why new events of the pipeline do not arrive, or None."""
        if self.has_failed:
            return f"failed: {self.supervisor.condition.reason}"
        return self.health.readiness_problem()


Pipelines = Callable[[], Mapping[str, Watched]]
"""Returns the pipelines of this moment by name."""


class MetricsOfPipelines:
    """A registry of the metrics of all pipelines, with a label for the pipeline."""

    def __init__(self, pipelines: Pipelines, version: str) -> None:
        self._pipelines = pipelines
        self._process = CollectorRegistry()
        add_process(self._process, version)

    def collect(self) -> Iterator[Metric]:
        yield from self._process.collect()
        pipelines = self._pipelines()
        families: dict[str, Metric] = {}
        for name, watched in pipelines.items():
            for family in watched.meter.registry.collect():
                _add(families, name, family)
        yield from families.values()
        failed = GaugeMetricFamily(_FAILED.name, _FAILED.help, labels=[LABEL])
        for name, watched in pipelines.items():
            failed.add_metric([name], float(watched.has_failed))
        yield failed


def _add(families: dict[str, Metric], pipeline: str, family: Metric) -> None:
    """Add the samples of a pipeline to the family of all pipelines."""
    whole = families.get(family.name)
    if whole is None:
        whole = families[family.name] = Metric(family.name, family.documentation, family.type)
    whole.samples += [
        sample._replace(labels={LABEL: pipeline, **sample.labels}) for sample in family.samples
    ]


def routes_of_pipelines(
    pipelines: Pipelines, liveness_problem: Callable[[], str | None], version: str
) -> Routes:
    """Return the routes of a process of many pipelines.

    `/readyz` looks at all of them, and `/readyz?pipeline=acme` at one.
    """
    metrics = cast("CollectorRegistry", MetricsOfPipelines(pipelines, version))

    def ready(query: Query) -> Response:
        known = pipelines()
        if LABEL not in query:
            return health_response(_problem(known))
        watched = known.get(query[LABEL])
        if watched is None:
            return Response(body=b"no such pipeline\n", status=HTTPStatus.NOT_FOUND)
        return health_response(watched.readiness_problem())

    return {
        "/metrics": lambda _: Response(body=generate_latest(metrics), type=EXPOSITION),
        "/healthz": lambda _: health_response(liveness_problem()),
        "/readyz": ready,
    }


def _problem(pipelines: Mapping[str, Watched]) -> str | None:
    """Return which pipelines are not ready, or None."""
    problems = {name: watched.readiness_problem() for name, watched in pipelines.items()}
    found = [f"{name}: {problem}" for name, problem in sorted(problems.items()) if problem]
    if not found:
        return None
    return "\n".join([f"{len(found)} of {len(problems)} are not ready", *_first(found)])


def _first(found: list[str]) -> Iterable[str]:
    return [*found[:_MOST_NAMES], *(["..."] if len(found) > _MOST_NAMES else [])]
