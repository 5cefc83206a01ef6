"""The control API, through which a test in another process changes and asks the sandbox."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from aiohttp import web

from poller.sandbox.auth0.entries import iso
from poller.sandbox.faults import Fault
from poller.sandbox.world import World

_LARGEST_REQUEST = 256 * 1024 * 1024


class Control:
    """The paths of the control API. Each path is a method, and its body holds the arguments."""

    def __init__(self, world: World) -> None:
        self._world = world

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_LARGEST_REQUEST)
        verbs: tuple[Callable[..., Any], ...] = (
            self.truth,
            self.grow,
            self.append,
            self.late,
            self.faults,
            self.clock,
            self.requests,
            self.tenant,
            self.collector,
            self.source,
            self.workspace,
            self.counter,
            self.plan,
            self.oauth,
            self.messages,
            self.traffic,
            self.people,
            self.latency,
        )
        for verb in verbs:
            application.router.add_route("*", f"/{verb.__name__}", _handler(verb))
        return application

    def truth(self, above: str = "") -> dict[str, Any]:
        """Return the comparison of the log with the messages that arrived."""
        return self._world.reconcile(above=above).shown()

    def grow(
        self,
        count: int,
        seconds: float = 0.0,
        ago: float = 0.0,
        kinds: list[str] | None = None,
        swing: float = 1.0,
    ) -> dict[str, str]:
        """Write entries over the `seconds` that ended `ago`, and return the first and last id."""
        end = self._world.clock.now() - timedelta(seconds=ago)
        start = end - timedelta(seconds=seconds)
        first, last = self._world.traffic.grow(
            count, start=start, end=end, kinds=kinds, swing=swing
        )
        return {"first": first.log_id, "last": last.log_id}

    def append(self, records: list[Any]) -> list[str]:
        """Write records into the log unchanged, and return their ids."""
        return [entry.log_id for entry in self._world.tenant.append(records)]

    def late(self, ago: float, kind: str = "login", count: int = 1) -> list[str]:
        """Write entries now whose ids are `ago` seconds old, and return the ids."""
        at = self._world.clock.now() - timedelta(seconds=ago)
        made = [entry for _ in range(count) for entry in self._world.traffic.happen(kind, at=at)]
        return [entry.log_id for entry in made]

    def faults(
        self,
        *,
        set: list[dict[str, Any]] | None = None,  # noqa: A002 - a name of the control API
        clear: bool = False,
    ) -> None:
        """Clear the faults if told to, then set these."""
        if clear:
            self._world.faults.clear()
        self._world.faults.set(*(Fault(**fault) for fault in set or ()))

    def clock(self, advance: float = 0.0) -> str:
        """Move the time by some seconds, and return the new time."""
        self._world.clock.advance(timedelta(seconds=advance))
        return self._world.clock.now().isoformat()

    def requests(self, service: str = "", path: str = "/") -> list[dict[str, Any]]:
        """Return the requests so far, oldest first."""
        return [
            asdict(seen) | {"at": iso(seen.at)} for seen in self._world.faults.seen(service, path)
        ]

    def tenant(
        self,
        plan: str | None = None,
        deleted: list[str] | None = None,
        revoke: bool = False,  # noqa: FBT001, FBT002 - a name of the control API
        take: int = 0,
        **changes: Any,
    ) -> None:
        """Change the tenant.

        Set the plan, delete users, revoke tokens, take rate-limit tokens of `logs`, or set fields.
        """
        if plan is not None:
            self._world.limits.set_plan(plan)
        for user_id in deleted or ():
            self._world.tenant.users[user_id].deleted = True
        if revoke:
            self._world.auth0.revoke_tokens()
        if take:
            self._world.limits.take("logs", take)
        for name, value in changes.items():
            known = getattr(self._world.tenant, name)
            setattr(
                self._world.tenant,
                name,
                timedelta(seconds=value) if isinstance(known, timedelta) else value,
            )

    def collector(self, **changes: Any) -> dict[str, int]:
        """Set fields of the collector, and return the number of arrivals by fate.

        A list becomes a set if the field is a set.
        """
        for name, value in changes.items():
            known = getattr(self._world.collector, name)
            found = timedelta(seconds=value) if isinstance(known, timedelta) else value
            setattr(self._world.collector, name, set(value) if isinstance(known, set) else found)
        return self._world.collector.counts()

    def source(self, **changes: Any) -> None:
        """Set fields of the Segment source. A list becomes a set if the field is a set."""
        _set_fields(self._world.source, changes)

    def workspace(self, **changes: Any) -> None:
        """Set fields of the Segment workspace, in the same way."""
        _set_fields(self._world.workspace, changes)

    def counter(self, **changes: Any) -> None:
        """Set fields of the source's counts. A lag is in seconds."""
        if "lag" in changes:
            changes["lag"] = timedelta(seconds=changes["lag"])
        _set_fields(self._world.counter, changes)

    def plan(self, rules: list[dict[str, Any]], **controls: dict[str, Any]) -> None:
        """Give the source a tracking plan, and change its controls for `track` and the others."""
        self._world.workspace.has_plan = True
        self._world.source.plan.rules = rules
        for kind, changes in controls.items():
            self._world.source.plan.controls[kind] |= changes

    def oauth(self, *, revoke: bool = False, lifetime: float | None = None) -> dict[str, str]:
        """Revoke all tokens, set their lifetime, and return the OAuth application with its key."""
        server = self._world.oauth
        if revoke:
            server.revoke()
        if lifetime is not None:
            server.lifetime = timedelta(seconds=lifetime)
        return {
            "client_id": server.client_id,
            "key_id": server.key_id,
            "private_key": server.private_key,
        }

    def messages(self, first: int = 0, count: int = 1000) -> list[dict[str, Any]]:
        """Return the whole messages that arrived, in order."""
        shown = self._world.collector.arrivals[first : first + count]
        return [asdict(arrival) | {"at": iso(arrival.at)} for arrival in shown]

    def traffic(self, rate: float = 0.0) -> None:
        """Let things happen at a rate per second. A rate of 0 ends it."""
        if rate > 0:
            self._world.traffic.run(rate)
        else:
            self._world.traffic.stop()

    def people(self, count: int) -> None:
        """Add users. From now on only signups add others."""
        self._world.traffic.people(count)

    def latency(self, auth0: float = 0.0, segment: float = 0.0) -> None:
        """Set the duration of each answer, in seconds."""
        self._world.faults.latency_s.update(auth0=auth0, segment=segment)


def _handler(verb: Callable[..., Any]) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        arguments = await request.json() if request.can_read_body else dict(request.query)
        try:
            # A large change would keep the services from answering, so it runs beside the loop.
            return web.json_response(await asyncio.to_thread(lambda: verb(**arguments)))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    return handle


def _set_fields(holder: object, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        is_set = isinstance(getattr(holder, name), set)
        setattr(holder, name, set(value) if is_set else value)
