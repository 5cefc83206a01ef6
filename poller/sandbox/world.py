"""The state of the simulated world: a tenant, a Segment source, and the faults between them."""

from datetime import timedelta

from poller.sandbox.auth0.api import Auth0Api
from poller.sandbox.auth0.limits import Limits
from poller.sandbox.auth0.tenant import Tenant
from poller.sandbox.auth0.traffic import Traffic
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults
from poller.sandbox.reconciliation import Reconciliation, reconcile
from poller.sandbox.segment.collector import Collector
from poller.sandbox.segment.counting import SourceCounter
from poller.sandbox.segment.oauth import OAuthServer
from poller.sandbox.segment.workspace import SimulatedWorkspace


class World:
    """Both simulated services, without the servers that make them reachable."""

    def __init__(self, *, seed: int | None = None, plan: str = "enterprise") -> None:
        self.clock = Clock()
        self.tenant = Tenant(self.clock, seed=seed)
        self.limits = Limits(self.clock, plan)
        self.faults = Faults(self.clock)
        self.write_key = "sandboxWriteKey" + "0" * 17
        self.collector = Collector(self.clock, write_key=self.write_key)
        self.traffic = Traffic(self.tenant, seed)
        self.auth0 = Auth0Api(self.tenant, self.limits, self.faults)
        self.source = self.collector.source
        self.workspace = SimulatedWorkspace(self.source)
        self.counter = SourceCounter(self.collector)
        self.oauth = OAuthServer(self.clock)

    def begin_with(self, events: int) -> None:
        """Fill the last hour of the log with this many events."""
        if events:
            now = self.clock.now()
            self.traffic.grow(events, start=now - timedelta(hours=1), end=now)

    def reconcile(self, *, above: str = "") -> Reconciliation:
        """Compare the log above a position with the messages that arrived."""
        return reconcile(self.tenant, self.collector, above=above)
