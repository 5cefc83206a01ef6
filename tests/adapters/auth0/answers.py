"""Auth0's answers, and a rate limiter that only listens."""

import json
from datetime import timedelta

from tests.scripted import Reply


class Budget:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int, timedelta]] = []
        self.asked: list[str] = []

    def acquire(self, endpoint: str) -> None:
        self.asked.append(endpoint)

    def observe(
        self,
        endpoint: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        del is_refused
        self.told.append((endpoint, limit, remaining, reset_in))

    def observe_nothing(self, endpoint: str) -> None:
        self.asked.append(f"missed {endpoint}")


def token(value: str = "t1", lifetime: float = 86400, scope: str = "read:logs") -> Reply:
    body = {"access_token": value, "expires_in": lifetime, "scope": scope, "token_type": "Bearer"}
    return Reply(body=json.dumps(body).encode())


def error(status: int, **body: object) -> Reply:
    return Reply(status=status, body=json.dumps({"statusCode": status, **body}).encode())


INSUFFICIENT = error(
    403,
    message="Insufficient scope, expected any of: read:logs,read:logs_users",
    errorCode="insufficient_scope",
)
