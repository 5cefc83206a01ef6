"""The dead man's switch that all pipelines of a folder share."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from poller.cli.wiring.alerts import heartbeat_of
from poller.config import Settings
from poller.service.alerts.dead_mans_switch import Pings
from poller.service.alerts.sender import LOOK_S
from poller.service.upstream.threads import start_thread


@contextmanager
def ping_while_all_are_well(shared: Settings, are_all_well: Callable[[], bool]) -> Iterator[None]:
    """Ping the switch of the defaults within this context, as long as every pipeline is well."""
    switch = heartbeat_of(shared)
    if switch is None:
        yield
        return
    pings, ending = Pings(switch), threading.Event()

    def run() -> None:
        pings.start("The daemon of all pipelines began.")
        looks = 0
        while not ending.wait(LOOK_S):
            looks += are_all_well()
            pings.look(looks, is_blocked=not are_all_well())

    start_thread(run, "switch")
    try:
        yield
    finally:
        ending.set()
