"""Servers for the simulated services, each on its own port, in one background thread."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

from poller.sandbox.control import Control
from poller.sandbox.segment.api import SegmentApi
from poller.sandbox.segment.cdn import CdnApi
from poller.sandbox.segment.oauth import OAuthApi
from poller.sandbox.segment.public_api import PublicApiRoutes
from poller.sandbox.world import World

_STARTED_WITHIN_S = 60.0
_SHUTDOWN_S = 0.5


class Sandbox(World):
    """The simulated world as servers on 127.0.0.1, which run while the context is open.

    The system picks the ports.
    """

    def __init__(self, *, seed: int | None = None, plan: str = "enterprise") -> None:
        super().__init__(seed=seed, plan=plan)
        self.auth0_url = self.segment_url = self.cdn_url = ""
        self.api_url = self.oauth_url = self.control_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)
        self._runners: list[web.AppRunner] = []

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        urls = started.result(_STARTED_WITHIN_S)
        self.auth0_url, self.segment_url, self.cdn_url = urls[:3]
        self.api_url, self.oauth_url, self.control_url = urls[3:]
        self.oauth.audience = self.oauth_url
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

    def facts(self) -> dict[str, str]:
        """Return the addresses and the secrets that a client of the sandbox needs."""
        return {
            "auth0_url": self.auth0_url,
            "segment_url": self.segment_url,
            "cdn_url": self.cdn_url,
            "api_url": self.api_url,
            "oauth_url": self.oauth_url,
            "control_url": self.control_url,
            "domain": self.tenant.domain,
            "client_id": self.tenant.client_id,
            "client_secret": self.tenant.client_secret,
            "write_key": self.write_key,
            "api_token": self.workspace.api_token,
        }

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> list[str]:
        applications = (
            self.auth0.application(),
            SegmentApi(self.collector, self.oauth, self.faults).application(),
            CdnApi(self.source, self.clock, self.faults).application(),
            PublicApiRoutes(self.workspace, self.counter, self.clock, self.faults).application(),
            OAuthApi(self.oauth, self.faults).application(),
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
