"""Parsers of texts: names, secrets, host names, origins and addresses.

Each parser raises `BadValueError` for a value that it cannot take. The message says what is wrong
and never holds the value, since the value may be a secret.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from poller.config.errors import BadValueError, PlaceholderError
from poller.core.translation.event_types import LOGIN_TYPES

Parser = Callable[[object], str]

PLACEHOLDER = "..."
"""The value in config.example.toml that every user has to replace."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PRIVATE_KEY = re.compile(r"^-----BEGIN (?:RSA |EC )?PRIVATE KEY-----\r?$", re.MULTILINE)
_LOOPBACK = IPv4Network("127.0.0.0/8")
_LOOPBACK_6 = IPv6Address("::1")
_LISTEN = re.compile(r"(?:\[(?P<six>[^\]%]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_LONGEST_NAME = 200
_PORTS = range(1, 65_536)
_SHORTEST_TOKEN = 32
_PAGE_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{_SHORTEST_TOKEN},}}")


def refuse_placeholder(value: object) -> None:
    """Refuse the placeholder of the example file.

    Raises:
        PlaceholderError: the value is the placeholder.
    """
    if value == PLACEHOLDER:
        raise PlaceholderError(f'is still the placeholder "{PLACEHOLDER}"')


def refuse_boolean(value: object) -> object:
    """Return the value, but refuse true and false, which pydantic takes for numbers.

    Raises:
        ValueError: the value is true or false.
    """
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")  # noqa: TRY004 - pydantic passes on others
    return value


def text(value: object) -> str:
    """Return text that is not empty and has no white space at its ends."""
    refuse_placeholder(value)
    if not isinstance(value, str):
        raise BadValueError("must be text in quotes")
    if not value.strip():
        raise BadValueError("is empty")
    if value != value.strip():
        raise BadValueError("has white space at its start or end")
    return value


def word(value: object) -> str:
    """Return text without white space or control characters."""
    parsed = text(value)
    if any(character.isspace() or not character.isprintable() for character in parsed):
        raise BadValueError("has white space or control characters in it")
    return parsed


def name(value: object) -> str:
    """Return a name for people and for message ids: one line of at most 200 characters."""
    parsed = text(value)
    if len(parsed) > _LONGEST_NAME or not parsed.isprintable():
        raise BadValueError(f"must be one line of at most {_LONGEST_NAME} characters")
    return parsed


def name_or_empty(value: object) -> str:
    """Return a name, or the empty text."""
    return "" if value == "" else name(value)


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise BadValueError("must be true or false")
    return value


def login_types(value: object) -> frozenset[str]:
    """Return log event types that may count as logins.

    The value is a list, or text with commas, since the environment has no lists.
    """
    types = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(types, list) or not types:
        raise BadValueError('must be a list of log event types, such as ["s"]')
    if any(not isinstance(part, str) or part not in LOGIN_TYPES for part in types):
        raise BadValueError(f"may hold {', '.join(LOGIN_TYPES)}")
    return frozenset(types)


def private_key(value: object) -> str:
    """Return a private key in PEM form without a passphrase."""
    pem = text(value.strip("\r\n") if isinstance(value, str) else value)
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem:
        raise BadValueError(
            "is a key with a passphrase: remove it with `openssl pkey -in OLD -out NEW`"
        )
    if "-----BEGIN PUBLIC KEY-----" in pem:
        raise BadValueError(
            "is a public key: the service has the public key, and the private key belongs here"
        )
    if not _PRIVATE_KEY.search(pem):
        raise BadValueError("must be a private key in PEM form, with its BEGIN line")
    return pem


def host_name(value: object) -> str:
    """Return a bare host name in lower case."""
    host = text(value).lower()
    if "/" in host or ":" in host or "@" in host:
        raise BadValueError(
            "must be the bare host name: leave off https:// and everything after the host"
        )
    if not _HOST.fullmatch(host):
        raise BadValueError("must be a host name such as acme.us.auth0.com")
    if "." not in host and host != "localhost":
        raise BadValueError("must be the whole host name, such as acme.us.auth0.com")
    return host


def base_url(value: object) -> str:
    """Return the origin of a service: scheme, host and port."""
    return _origin(value, leave_off="leave off everything after the host")


def endpoint(value: object) -> str:
    """Return the origin of Segment's tracking API. People often copy it with its path."""
    if isinstance(value, str) and _split(value).path.startswith("/v1"):
        return _origin(value, leave_off="leave off /v1, it is added")
    return base_url(value)


def page_token(value: object) -> str:
    """Return a token that is safe in a URL and long enough not to be guessed."""
    parsed = word(value)
    if not _PAGE_TOKEN.fullmatch(parsed):
        raise BadValueError(
            f"must have at least {_SHORTEST_TOKEN} characters, all of them letters, digits, - or _:"
            " `openssl rand -hex 32` makes one"
        )
    return parsed


class Socket(NamedTuple):
    """An address to listen on. Port 0 stands for any free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine reaches the address."""
        return ip_address(self.host).is_loopback


def socket(value: object) -> Socket:
    """Return an IP address and a port. The name localhost stands for 127.0.0.1."""
    must_be = "must be an address and a port, such as 127.0.0.1:9464 or [::1]:9464"
    match = _LISTEN.fullmatch(word(value))
    if match is None or int(match["port"]) >= _PORTS.stop:
        raise BadValueError(must_be)
    host = match["six"] or match["four"].lower()
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise BadValueError(must_be) from None
    if isinstance(address, IPv6Address) != bool(match["six"]):
        raise BadValueError(must_be)
    return Socket(str(address), int(match["port"]))


def _origin(value: object, *, leave_off: str) -> str:
    parts = _split(word(value))
    if parts.scheme not in {"https", "http"} or not parts.netloc:
        raise BadValueError("must begin with https://")
    if "@" in parts.netloc:
        raise BadValueError("must not have a user or password in it")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise BadValueError(f"must be an origin: {leave_off}")
    host, address = _host(parts)
    if parts.scheme == "http" and not _is_loopback(host, address):
        raise BadValueError(
            "plain http goes only to this machine (127.0.0.0/8, ::1, localhost): use https"
        )
    port = f":{parts.port}" if parts.port else ""
    bare = f"[{host}]" if isinstance(address, IPv6Address) else host
    return f"{parts.scheme}://{bare}{port}"


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        is_port = parts.port is None or parts.port in _PORTS
    except ValueError:
        is_port = False
    if not is_port:
        raise BadValueError("must be an origin such as https://host or https://host:port") from None
    return parts


def _host(parts: SplitResult) -> tuple[str, IPv4Address | IPv6Address | None]:
    host = parts.hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    # A % begins the zone of an IPv6 address, which holds on one machine only.
    if "%" in host or (address is None and not _HOST.fullmatch(host)):
        raise BadValueError("must have a host name, such as https://host or https://host:port")
    return host, address


def _is_loopback(host: str, address: IPv4Address | IPv6Address | None) -> bool:
    if isinstance(address, IPv4Address):
        return address in _LOOPBACK
    return host == "localhost" or address == _LOOPBACK_6
