"""One slice without latency against a bare loop: no ledger, no library, no proof of anything."""

import base64
import gzip
import json
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.wiring.services import connect, profiles_of, rules_of, stream_of
from poller.config import Settings, load_settings
from poller.core.delivery import BatchSender
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.translation.translator import HistoryTranslator
from poller.service.observability.instrumented import NO_OBSERVER, Observer, metered_pages
from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import reference

PAGES = 200
ROUNDS = 3


def against_a_bare_loop(folder: Path) -> Iterator[Figure]:
    """Measure the events a second of one slice without latency, over those of a bare loop."""
    with reference(folder, "unlimited", pages=PAGES, latency=False) as made:
        settings = load_settings(made.settings, {})
        _bare(settings)  # so that the sandbox has drawn all there is
        ratios, speeds = [], []
        for number in range(ROUNDS):
            bare = _bare(settings)
            ours = events_per_s(settings, folder / f"{number}.db")
            ratios.append(ours / bare)
            speeds.append((ours, bare))
        ours, bare = map(statistics.median, zip(*speeds, strict=True))
    yield Figure(
        name="one slice without latency, events/s over those of a bare loop",
        value=statistics.median(ratios),
        bound=0.25,
        is_at="least",
        note=f"{ours:,.0f} and {bare:,.0f} events/s, one core each",
    )


def _bare(settings: Settings) -> float:
    """Events a second of get, parse, build, pack and post."""
    auth0, segment = (
        httpx.Client(base_url=url) for url in (settings.auth0.base_url, settings.segment.endpoint)
    )
    with auth0, segment:
        token = {"Authorization": f"Bearer {_token(settings, auth0)}"}
        key = settings.segment.write_key.get_secret_value() if settings.segment.write_key else ""
        headers = {
            "Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }
        position, events, began = str(EARLIEST), 0, time.perf_counter()
        while page := json.loads(
            auth0.get(
                "/api/v2/logs", params={"from": position, "take": "100"}, headers=token
            ).content
        ):
            batch = [_message(event) for event in page if event["type"] in {"s", "ss"}]
            body = gzip.compress(json.dumps({"batch": batch}).encode(), 1)
            segment.post("/v1/batch", content=body, headers=headers).raise_for_status()
            position = page[-1]["log_id"]
            events += len(page)
        return events / (time.perf_counter() - began)


def _message(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Logged In",
        "messageId": f"bare-{event['log_id']}",
        "userId": event["user_id"],
        "timestamp": event["date"],
        "context": {
            "ip": event["ip"],
            "userAgent": event["user_agent"],
            "traits": {"email": event["user_name"]},
        },
        "properties": {
            "clientName": event["client_name"],
            "clientID": event["client_id"],
            "connection": event.get("connection"),
        },
    }


def _token(settings: Settings, auth0: httpx.Client) -> str:
    body = {
        "grant_type": "client_credentials",
        "client_id": settings.auth0.client_id,
        "client_secret": settings.auth0.client_secret.get_secret_value()
        if settings.auth0.client_secret
        else "",
        "audience": f"https://{settings.auth0.domain}/api/v2/",
    }
    return str(auth0.post("/oauth/token", json=body).json()["access_token"])


def events_per_s(settings: Settings, path: Path, observer: Observer = NO_OBSERVER) -> float:
    """Events a second of `forward` with everything behind it, to the end of the log."""
    ledger = SqlLedger.open(f"sqlite:///{path}", stream_of(settings), create=True)
    with connect(settings, threading.Event(), share=1.0) as services:
        span = ledger.begin(after=EARLIEST, until=services.log.newest_id_in_search() or EARLIEST)
        translator = HistoryTranslator(stream_of(settings), rules_of(settings))
        profiles = profiles_of(settings, services)
        events, began = 0, time.perf_counter()
        pages = forward(
            services.log, profiles, translator, BatchSender(services.sink), ledger, span
        )
        for page in metered_pages(pages, observer):
            events += len(page.settlement.page.events)
        took_s = time.perf_counter() - began
    ledger.close()
    return events / took_s
