"""A process without an HTTP endpoint works without metrics."""

from poller.service.observability.instrumented import NO_METRICS


def test_without_metrics_there_is_no_layer_between() -> None:
    part: object = object()
    for wrap in (
        NO_METRICS.wrap_budget,
        NO_METRICS.wrap_log,
        NO_METRICS.wrap_sink,
        NO_METRICS.wrap_pages,
        NO_METRICS.wrap_journal,
    ):
        assert wrap(part) is part  # type: ignore[arg-type, comparison-overlap]  # whatever it is
