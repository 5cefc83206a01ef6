"""The origins of Segment's services beside its tracking API, and the URLs of alerts."""

import re

from poller.config.errors import BadValueError
from poller.config.parsers.texts import base_url, text, word

OFF = "off"
"""The word for a service that is never asked."""


def endpoint_or_off(value: object) -> str | None:
    """Return the origin of a service, or None for the word off.

    Raises:
        BadValueError: the value is neither.
    """
    if text(value).lower() == OFF:
        return None
    return base_url(value)


_WEB_URL = re.compile(r"(https?)://([^/?#]+)(?:[/?].*)?")
_ALERT_URL = re.compile(r"[a-z][a-z0-9+.-]{0,29}://.+", re.IGNORECASE)


def web_url(value: object) -> str:
    """Return the URL of a page, with its path and query. Its origin obeys the rules of `base_url`.

    Raises:
        BadValueError: it is no such URL.
    """
    url = word(value)
    match = _WEB_URL.fullmatch(url)
    if match is None:
        raise BadValueError("must begin with https://")
    base_url(f"{match[1]}://{match[2]}")
    return url


def alert_url(value: object) -> str:
    """Return one URL to which alerts go. Only Apprise knows whether it can use the URL.

    Raises:
        BadValueError: it has no scheme, or white space in it, or is plain http to elsewhere.
    """
    url = word(value)
    if not _ALERT_URL.fullmatch(url):
        raise BadValueError("must be a list of URLs, such as mailto://host or https://host/path")
    if url.lower().startswith(("http:", "https:")):
        return web_url(url)
    return url
