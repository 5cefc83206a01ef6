"""What stands in a log event or a profile, where each value may be anything; what is not as it should be is None."""

import ipaddress
import math
from collections.abc import Mapping
from typing import Any

from poller.core.messages import Scalar

_MASKS = ("*", "\u2022", "\u2026")
"""The asterisk, the bullet and the ellipsis."""


def user_id_of(record: Mapping[str, Any]) -> str | None:
    """The event's user id; for a signup without one, that of the form it was made with (auth0-log-schemas: ss)."""
    body = at(record, "details", "body")
    return text(record.get("user_id")) or (
        text(body.get("user_id")) if isinstance(body, Mapping) else None
    )


def logins_count(record: Mapping[str, Any]) -> int | None:
    """The login count that the event carries, in either of two places; null means unknown (auth0-log-schemas: s)."""
    told = count(at(record, "details", "stats", "loginsCount"))
    prompts = at(record, "details", "prompts")
    if told is None and isinstance(prompts, list):
        found = (count(at(prompt, "stats", "loginsCount")) for prompt in prompts)
        return next((value for value in found if value is not None), None)
    return told


def email_in_log(record: Mapping[str, Any]) -> str | None:
    """An e-mail from the event itself; `user_name` is often a phone number or a chosen name."""
    for candidate in (record.get("user_name"), at(record, "details", "body", "email")):
        found = text(candidate)
        if found and is_masked_email(found):
            continue
        local, sign, domain = (found or "").rpartition("@")
        if (
            found
            and sign
            and local
            and "." in domain.strip(".")
            and not any(letter.isspace() for letter in found)
        ):
            return found
    return None


def is_masked_email(value: object) -> bool:
    """Tell if the text is an e-mail in which something was replaced, as in `a***@e***.com`.

    Log streams can mask personal data. A masked address is nobody's address, and many people share it.
    """
    return isinstance(value, str) and "@" in value and any(sign in value for sign in _MASKS)


def at(value: Any, *path: str) -> Any:
    """What stands at the end of the path of keys."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object) -> str | None:
    """Non-empty text that UTF-8 can carry; a number becomes its digits, anything else is absent."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _digits(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def count(value: object) -> int | None:
    """A whole number from 0 on that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before anything else: an int may be too large for a float.
    return int(value) if 0 <= value < 2**53 and value == int(value) else None


def ip_text(value: object) -> str | None:
    """An IPv4 or IPv6 address in its shortest spelling; an IPv4 address inside IPv6 as IPv4."""
    found = text(value)
    try:
        address = ipaddress.ip_address(found) if found else None
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address) if address else None


def flat(value: object) -> Scalar | None:
    """A scalar that may leave; lists, objects, empty text and what is no number are absent."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        # A number that a double cannot hold would be another one at its destination.
        return value if abs(value) < 2**53 else _digits(value)
    if isinstance(value, float):
        return (
            float(value) if math.isfinite(value) else None
        )  # without the digits that it came with
    return text(value)


def _digits(value: int) -> str | None:
    try:
        return str(value)
    except ValueError:  # Python spells out no number of over 4,300 digits
        return None
