"""The body of an answer, bounded while it is read, inflated and parsed.

The other side may be hostile.
"""

import zlib
from collections.abc import Iterable
from typing import Any

from poller.core.text.json_text import decode, decode_of_any_depth

ACCEPTED_ENCODING = "gzip"
MAX_BODY_BYTES = 32 * 1024 * 1024
"""A bound that no real answer comes near. A page of 100 log events has about 114 KB."""
MAX_VALUES = 1_000_000
"""A bound on memory: a million values take up to 200 MB.

A page of 100 log events has about 10,000.
"""
_GZIP = zlib.MAX_WBITS | 16


class UnusableBodyError(Exception):
    """The body is larger than its bound, or does not have the form that was asked for."""


def read_body(chunks: Iterable[bytes], encoding: str) -> bytes:
    """Return the inflated body.

    `chunks` are the bytes as they came, and `encoding` is the Content-Encoding. At most one byte
    more than `MAX_BODY_BYTES` is inflated. The request asks for gzip only, so another
    encoding, or gzip within gzip, is refused.

    Raises:
        UnusableBodyError: the body is too large, or is not in that encoding.
    """
    applied = [
        name
        for each in encoding.split(",")
        if (name := each.strip().lower()) not in {"", "identity"}
    ]
    if not applied:
        return _joined(chunks)
    if applied not in (["gzip"], ["x-gzip"]):
        raise UnusableBodyError("the answer is compressed in a way that was not asked for")
    return _inflated(chunks)


def _joined(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        _check_size(len(body))
    return bytes(body)


def _inflated(chunks: Iterable[bytes]) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    body, received = bytearray(), 0
    for chunk in chunks:
        received += len(chunk)
        try:
            body += inflater.decompress(chunk, MAX_BODY_BYTES - len(body) + 1)
        except zlib.error:
            raise UnusableBodyError("the answer says gzip and is not") from None
        _check_size(max(len(body), received))
    if received and not inflater.eof:
        raise UnusableBodyError("the answer breaks off")
    return bytes(body)


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise UnusableBodyError("the answer is too large")


def parse_json(body: bytes) -> Any:
    """Parse JSON of at most `MAX_VALUES` values, and of no more levels than `decode` takes.

    Raises:
        ValueError: the body is not JSON, or is beyond one of the bounds.
    """
    _check_count(body)
    return decode(body)


def parse_json_of_any_depth(body: bytes) -> Any:
    """Parse JSON of at most `MAX_VALUES` values. See `decode_of_any_depth` for deep values.

    Raises:
        ValueError: the body is not JSON, or has too many values.
    """
    _check_count(body)
    return decode_of_any_depth(body.decode())


def _check_count(body: bytes) -> None:
    # Each value but the first follows one of these bytes. They are counted before anything is made
    # of them. A body with no more bytes than that cannot hold so many values.
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("too many values")
