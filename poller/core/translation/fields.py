"""Readers of values in a log event or a profile.

A value may be anything. A reader returns None for a value that is not of its form.
"""

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Any

from poller.core.messages import Scalar

_MASK = re.compile("[*\u2022\u2026]")
"""The asterisk, the bullet and the ellipsis."""
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_BYTE}\.){{3}}{_BYTE}")
"""An IPv4 address. It has one spelling only."""


def user_id_of(record: Mapping[str, Any]) -> str | None:
    """Return the event's user id, or the one in the form of a signup (auth0-log-schemas: ss)."""
    return text(record.get("user_id")) or text(at(record, "details", "body", "user_id"))


def logins_count(record: Mapping[str, Any]) -> int | None:
    """Return the login count that the event carries in either of two places.

    A null means that Auth0 does not know the count (auth0-log-schemas: s).
    """
    in_details = count(at(record, "details", "stats", "loginsCount"))
    if in_details is not None:
        return in_details
    prompts = at(record, "details", "prompts")
    if not isinstance(prompts, list):
        return None
    in_prompts = (count(at(prompt, "stats", "loginsCount")) for prompt in prompts)
    return next((value for value in in_prompts if value is not None), None)


def email_in_log(record: Mapping[str, Any]) -> str | None:
    """Return an e-mail from the event itself.

    `user_name` is often no e-mail but a phone number or a chosen name.
    """
    for candidate in (record.get("user_name"), at(record, "details", "body", "email")):
        value = text(candidate)
        if value and _is_email(value) and not is_masked_email(value):
            return value
    return None


def _is_email(value: str) -> bool:
    local, separator, domain = value.rpartition("@")
    has_parts = bool(separator and local) and "." in domain.strip(".")
    return has_parts and value.split() == [value]  # without any space


def is_masked_email(value: object) -> bool:
    """Return whether the value is an e-mail with replaced characters, as in `a***@e***.com`.

    Log streams can mask personal data. A masked address does not identify a person, and many people
    may share it.
    """
    return isinstance(value, str) and "@" in value and _MASK.search(value) is not None


def at(value: Any, *path: str) -> Any:
    """Return the value at the end of the path of keys."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object) -> str | None:
    """Return text that is not empty and that UTF-8 can carry. A whole number becomes its digits."""
    if isinstance(value, str):
        if not value or value.isspace():
            return None
        if value.isascii():
            return value
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return _digits(value)
    return None


def count(value: object) -> int | None:
    """Return a whole number from 0 on that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before anything else: an int may be too large for a float.
    if 0 <= value < 2**53 and value == int(value):
        return int(value)
    return None


def ip_text(value: object) -> str | None:
    """Return an IP address in its shortest spelling. An IPv4 address inside IPv6 becomes IPv4."""
    written = text(value)
    if written and _IPV4.fullmatch(written):  # parsing takes over ten times as long
        return written
    try:
        address = ipaddress.ip_address(written) if written else None
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address) if address else None


def flat(value: object) -> Scalar | None:
    """Return a scalar that may leave. Lists, objects, empty text and NaN may not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        # A number that a double cannot hold would be another one at its destination.
        return value if abs(value) < 2**53 else _digits(value)
    if isinstance(value, float):
        # `float` takes away the digits that the number came with.
        return float(value) if math.isfinite(value) else None
    return text(value)


def _digits(value: int) -> str | None:
    try:
        return str(value)
    except ValueError:  # Python spells out no number of over 4,300 digits
        return None
