"""The actions of the page on dead letters. One is under way at a time."""

import asyncio
from http import HTTPStatus
from typing import Any, cast, get_args

import structlog
from aiohttp import web

from poller.core.errors import PollerError
from poller.core.text.plain_text import visible
from poller.service.page.access import Access
from poller.service.page.parts import Action, DeadLetters, Target

ANSWER_S = 20.0
"""The time that a browser waits for an action. Then the action goes on without the browser."""
_CONFIRMED = "yes"
_BODY_TYPE = "application/x-www-form-urlencoded"

log = structlog.get_logger()


class Actions:
    """The answers about dead letters. Used within one event loop.

    A request for an action holds the token of exactly this action, and a confirmation.
    """

    def __init__(self, letters: DeadLetters, access: Access, pipeline: str = "") -> None:
        self._letters = letters
        self._access = access
        self._pipeline = pipeline
        self._under_way: asyncio.Task[dict[str, Any]] | None = None

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Return the reasons, and the next dead letters above the log id `after`."""
        after, reason = request.query.get("after", ""), request.query.get("reason", "")
        letters = self._letters
        reasons = await asyncio.to_thread(letters.reasons)
        page = await asyncio.to_thread(lambda: letters.page(after=after, reason=reason))
        return web.json_response(
            {
                "reasons": [
                    {"reason": each, "count": count, "tokens": self._tokens(Target(reason=each))}
                    for each, count in sorted(reasons.items())
                ],
                "letters": [
                    {**each, "tokens": self._tokens(Target(log_id=each["log_id"]))} for each in page
                ],
            }
        )

    async def detail(self, request: web.Request) -> web.StreamResponse:
        """Return one dead letter."""
        log_id = request.match_info["log_id"]
        found = await asyncio.to_thread(self._letters.detail, log_id)
        if found is None:
            raise web.HTTPNotFound(reason="no dead letter has this id")
        return web.json_response({**found, "tokens": self._tokens(Target(log_id=log_id))})

    async def act(self, request: web.Request) -> web.StreamResponse:
        """Replay or discard the dead letters that the form names."""
        if request.content_type != _BODY_TYPE:
            raise web.HTTPUnsupportedMediaType
        form = {name: str(value) for name, value in (await request.post()).items()}
        action = cast("Action", request.match_info["action"])
        target = Target(log_id=form.get("log_id", ""), reason=form.get("reason", ""))
        if bool(target.log_id) == bool(target.reason):
            raise web.HTTPBadRequest(reason="name a log id, or a reason")
        if not self._access.may_act(self._purpose(action, target), form.get("token", "")):
            raise web.HTTPForbidden(reason="the token of the action is wrong: load the page again")
        if form.get("confirmed") != _CONFIRMED:
            raise web.HTTPBadRequest(reason="the action is not confirmed")
        if self._under_way is not None and not self._under_way.done():
            raise web.HTTPConflict(reason="another action is under way")
        self._under_way = asyncio.create_task(self._run(action, target))
        return await self._answer(self._under_way)

    async def _answer(self, task: asyncio.Task[dict[str, Any]]) -> web.StreamResponse:
        done, _ = await asyncio.wait({task}, timeout=ANSWER_S)
        if not done:
            text = {"note": "it goes on: look at the list again later"}
            return web.json_response(text, status=HTTPStatus.ACCEPTED)
        result = task.result()
        status = HTTPStatus.BAD_GATEWAY if "problem" in result else HTTPStatus.OK
        return web.json_response(result, status=status)

    async def _run(self, action: Action, target: Target) -> dict[str, Any]:
        """Act in a thread. The log says that somebody did, and not who."""
        try:
            result = await asyncio.to_thread(self._letters.act, action, target)
        except PollerError as error:
            log.warning("live_page.action_failed", action=action, reason=str(error))
            return {"problem": visible(str(error)), "hint": visible(getattr(error, "hint", ""))}
        except Exception as error:  # noqa: BLE001 - the text may hold a person
            log.warning("live_page.action_failed", action=action, error=type(error).__name__)
            return {"problem": "it failed: this is a bug", "hint": ""}
        log.info("live_page.acted", action=action, log_id=target.log_id, of=target.reason, **result)
        return result

    def _tokens(self, target: Target) -> dict[str, str]:
        return {
            action: self._access.action_token(self._purpose(action, target))
            for action in get_args(Action)
        }

    def _purpose(self, action: Action, target: Target) -> str:
        return f"{self._pipeline} {action} id={target.log_id} reason={target.reason}"
