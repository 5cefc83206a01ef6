"""Dead letters behind the live page."""

from typing import Any

from poller.service.page.parts import Action, Target
from tests.service.page.browsers import FakeLetters


class Letters(FakeLetters):
    """Dead letters that go away when somebody acts on them."""

    def page(self, *, after: str, reason: str) -> list[dict[str, Any]]:
        return [self._values(each["log_id"]) for each in super().page(after=after, reason=reason)]

    def detail(self, log_id: str) -> dict[str, Any] | None:
        if super().detail(log_id) is None:
            return None
        record = {"raw": '{"type": "s"}', "pretty": '{\n  "type": "s"\n}'}
        return {**self._values(log_id), "date": None, "application": "Shop", "record": record}

    def act(self, action: Action, target: Target) -> dict[str, Any]:
        done = super().act(action, target)
        self.left = [each for each in self.left if target.log_id not in {"", each}]
        return done

    def _values(self, log_id: str) -> dict[str, Any]:
        at = "2026-11-20T11:59:58.000Z"
        return {
            "log_id": log_id,
            "type": "s",
            "reason": "no_user_id",
            "status": None,
            "dead_lettered_at": at,
        }
