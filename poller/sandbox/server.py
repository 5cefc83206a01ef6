"""Both services on ports of their own, in one background thread."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

from poller.sandbox.auth0.api import Auth0Api
from poller.sandbox.auth0.limits import Limits
from poller.sandbox.auth0.tenant import Tenant
from poller.sandbox.auth0.traffic import Traffic
from poller.sandbox.clock import Clock
from poller.sandbox.control import Control
from poller.sandbox.faults import Faults
from poller.sandbox.reconciliation import Reconciliation, reconcile
from poller.sandbox.segment.api import SegmentApi
from poller.sandbox.segment.cdn import CdnApi
from poller.sandbox.segment.collector import Collector

_STARTED_WITHIN_S = 10.0
_SHUTDOWN_S = 0.5


class Sandbox:
    """The simulated world, up while the context is; listens on 127.0.0.1 only, on ports that the system picks."""

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
        self.auth0_url = self.segment_url = self.cdn_url = self.control_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)
        self._runners: list[web.AppRunner] = []

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        urls = started.result(_STARTED_WITHIN_S)
        self.auth0_url, self.segment_url, self.cdn_url, self.control_url = urls
        self.source.host = self.segment_url.removeprefix("http://")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.traffic.stop()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reconcile(self, *, above: str = "") -> Reconciliation:
        """What was served above a position, against what arrived."""
        return reconcile(self.tenant, self.collector, above=above)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> list[str]:
        applications = (
            self.auth0.application(),
            SegmentApi(self.collector, self.faults).application(),
            CdnApi(self.source, self.clock, self.faults).application(),
            Control(self).application(),
        )
        return [await self._listen(application) for application in applications]

    async def _listen(self, application: web.Application) -> str:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
