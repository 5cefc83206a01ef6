"""Changes of routes that stand at different positions: no event is lost, and none is sent twice."""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from poller.adapters.sql_ledger.tables.routing import RecordedRoute
from tests.cli.routed_tenant import STREAMS, Tenant, routes

APPS = "abc"

ROUTES = st.tuples(
    st.permutations(range(len(STREAMS))),
    st.lists(st.text(APPS, min_size=1, max_size=2), min_size=1, max_size=3),
).map(lambda drawn: routes(*zip(*drawn, strict=False)))
STEPS = st.one_of(
    st.tuples(st.just(Tenant.grow), st.text(APPS, min_size=1, max_size=8)),
    st.tuples(st.just(Tenant.change), ROUTES),
    st.tuples(st.just(Tenant.crash), ROUTES, st.integers(0, 150), st.booleans()),
    st.tuples(st.just(Tenant.drain), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just(Tenant.catch_up), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just(Tenant.walk), st.integers(0, 2), st.integers(1, 2)),
    st.tuples(st.just(Tenant.write_late), st.sampled_from(APPS), st.integers(0, 8)),
)


@given(first=ROUTES.filter(lambda each: len(each) > 1), steps=st.lists(STEPS, max_size=14))
@settings(deadline=None, phases=(Phase.generate, Phase.shrink))
def test_every_event_reaches_one_route_however_routes_change(
    first: tuple[RecordedRoute, ...], steps: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tenant = Tenant(Path(folder))
        with closing(tenant.database):
            tenant.change(first)
            for step, *arguments in steps:
                step(tenant, *arguments)
            tenant.finish()
            sent = tenant.sent()
    for each in tenant.log.records:
        times = sent[each["user_id"]]
        assert times >= 1
        assert times == 1 or each["log_id"] in tenant.late
