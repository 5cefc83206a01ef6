"""The sandbox with a client for each of its services."""

import gzip
import json
from dataclasses import dataclass
from typing import Any

import httpx

from poller.sandbox import Sandbox


@dataclass
class World:
    """The sandbox as its clients see it."""

    sandbox: Sandbox
    auth0: httpx.Client
    segment: httpx.Client

    def token(self, **changes: Any) -> httpx.Response:
        tenant = self.sandbox.tenant
        asked = {
            "grant_type": "client_credentials",
            "client_id": tenant.client_id,
            "client_secret": tenant.client_secret,
            "audience": f"https://{tenant.domain}/api/v2/",
        }
        return self.auth0.post("/oauth/token", json=asked | changes)

    def authorize(self) -> None:
        self.auth0.headers["Authorization"] = f"Bearer {self.token().json()['access_token']}"

    def logs(self, **params: Any) -> httpx.Response:
        return self.auth0.get("/api/v2/logs", params=params)

    def batch(self, *messages: Any, key: str | None = None, **envelope: Any) -> httpx.Response:
        key = self.sandbox.write_key if key is None else key
        body = json.dumps({"batch": list(messages), "writeKey": key, **envelope}).encode()
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return self.segment.post("/v1/batch", content=gzip.compress(body), headers=headers)

    def fates(self) -> list[str]:
        return [arrival.fate for arrival in self.sandbox.collector.arrivals]


DATE = "2026-11-20T10:00:00.000Z"


def track(message_id: str = "m1", **changes: Any) -> dict[str, Any]:
    made = {
        "type": "track",
        "messageId": message_id,
        "userId": "u",
        "event": "Logged In",
        "timestamp": DATE,
    }
    return made | {"properties": {}} | changes
