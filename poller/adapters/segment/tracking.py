"""Segment's HTTP API. A batch is acknowledged as a whole, or an error says what can be done.

Segment's own library builds the messages, and our client posts them. The transport of the library
queues messages and may drop them, follows redirects with the key, and has no total deadline (read
and measured in version 2.4.0).
"""

import base64
import gzip
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Answer, Http
from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.segment.oauth import OAuthToken, OAuthTokens
from poller.adapters.segment.verdicts import SERVICE, in_between
from poller.core.errors import FatalError, RejectedError, TransientError, UnusableAnswerError
from poller.core.messages import Batch, Message, Receipt
from poller.core.text.dates import iso

PATH = "/v1/batch"
_TRANSIENT = {408, 410, 429, 460}
_BAD_REQUEST = 400
_TOO_MUCH = {_BAD_REQUEST, 413}
_REDIRECTS = range(300, 400)
_SERVER_ERROR = 500
_TOKEN_REFUSED = {401, 403, 511}
"""The answers after which Segment's Python library 2.4.0 takes a new token."""
_GZIP_LEVEL = 1  # on such bodies nearly as small as level 6, and three times as fast


class SegmentSink:
    """One Segment source. Thread-safe.

    `integrations` says to which destinations the messages go. None stands for all.
    """

    def __init__(
        self,
        write_key: str,
        http: Http,
        clock: ServerClock,
        *,
        integrations: Mapping[str, Any] | None = None,
        tokens: OAuthTokens | None = None,
    ) -> None:
        self._tokens = tokens
        self._integrations = dict(integrations or {})
        self._write_key = write_key
        self._http = http
        self._clock = clock
        self._encoder = MessageEncoder(integrations)
        basic = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }

    def encode(self, message: Message) -> bytes:
        return self._encoder.encode(message)

    def send(self, batch: Batch) -> Receipt:
        """Post the batch once. See the port for what it raises."""
        answer = self._post(batch.bodies)
        _check(answer)
        return Receipt(
            message_ids=tuple(message.message_id for message in batch.messages),
            acknowledged_at=answer.believed_at or self._clock.agreed(),
        )

    def reach(self) -> None:
        """Prove that Segment answers, with an empty batch.

        Nothing can prove that the write key is right: Segment acknowledges any key.

        Raises:
            TransientError, FatalError, RejectedError: for the same reasons as `send`.
        """
        _check(self._post(()))

    def _post(self, messages: Sequence[bytes]) -> Answer:
        """Post the messages. If Segment refuses the OAuth token, post them again with a new one."""
        content = gzip.compress(self._body(messages), _GZIP_LEVEL)
        if self._tokens is None:
            return self._http.call("POST", PATH, content=content, headers=self._headers)
        token = self._tokens.current()
        answer = self._post_with(token, content)
        if answer.status in _TOKEN_REFUSED and answer.json_object:
            answer = self._post_with(self._tokens.renew(token), content)
        return answer

    def _post_with(self, token: OAuthToken, content: bytes) -> Answer:
        headers = self._headers | {"Authorization": f"Bearer {token.value}"}
        return self._http.call("POST", PATH, content=content, headers=headers)

    def _body(self, messages: Sequence[bytes]) -> bytes:
        """Return the request body around messages that are encoded already.

        `sentAt` is the time of this attempt by Segment's clock. Segment shifts every timestamp by
        the distance between `sentAt` and its own clock.
        """
        envelope: dict[str, Any] = {"sentAt": iso(self._clock.now()), "writeKey": self._write_key}
        if self._integrations:
            envelope["integrations"] = self._integrations
        rest = to_json(envelope)
        return b'{"batch":[' + b",".join(messages) + b"]," + rest.removeprefix(b"{")


def _check(answer: Answer) -> None:
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success
        if _is_acknowledgement(answer):
            return
        raise UnusableAnswerError(
            _without_receipt(answer), retry_after=answer.retry_after, service=SERVICE
        )
    if status in _TRANSIENT or status >= _SERVER_ERROR:
        raise TransientError(
            f"Segment answered {status}", retry_after=answer.retry_after, service=SERVICE
        )
    # Segment's own 400 is JSON or plain text (segment-docs; analytics-ruby#147). A 413 is worth a
    # second attempt with half of the batch.
    if status in _TOO_MUCH and not _is_page(answer):
        if _names_write_key(answer.body):
            raise FatalError(
                f"Segment answered {status}", code="segment-request-refused", hint=_hint(status)
            )
        raise RejectedError(f"Segment answered {status}", status=status)
    if status in _REDIRECTS or not answer.json_object:
        raise TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    raise FatalError(
        f"Segment answered {status}", code="segment-request-refused", hint=_hint(status)
    )


def _without_receipt(answer: Answer) -> str:
    """Return the message for a 2xx without a receipt.

    An answer in JSON may be Segment's own. Any other answer comes from something in between.
    """
    if answer.json_object:
        return f"Segment answered {answer.status} without acknowledging"
    return f"{in_between(answer)}, without Segment's receipt"


def _is_page(answer: Answer) -> bool:
    """Return whether the answer is a 400 with a web page, which does not come from Segment."""
    return answer.status == _BAD_REQUEST and "html" in answer.form


def _is_acknowledgement(answer: Answer) -> bool:
    """Return whether the answer is `{"success": true}`, as in every recording.

    The status alone does not prove it: a proxy that refuses a request may answer 200 too.
    """
    return answer.json_object.get("success") is True


def _names_write_key(body: bytes) -> bool:
    return re.search(rb"write[ _-]?key", body[:4096], re.IGNORECASE) is not None


def _hint(status: int) -> str:
    if status == 404:  # noqa: PLR2004 - not found
        return (
            "segment.endpoint is not Segment's: use https://api.segment.io or "
            "https://events.eu1.segmentapis.com"
        )
    write_key = (
        "check segment.write_key (Segment: Connections > Sources > your source > Settings > "
        "API Keys)"
    )
    if status in _TOKEN_REFUSED:
        return (
            f"{write_key}. A source that enforces OAuth needs segment.oauth_client_id and its key"
        )
    return write_key
