"""The origins of Segment's services beside its tracking API."""

from poller.config.parsers.texts import base_url, text

OFF = "off"
"""The word for a service that is never asked."""


def endpoint_or_off(value: object) -> str | None:
    """Return the origin of a service, or None for the word off.

    Raises:
        BadValueError: the value is neither.
    """
    return None if text(value).lower() == OFF else base_url(value)
