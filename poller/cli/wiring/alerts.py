"""From the settings to the targets of alerts, and to the dead man's switch."""

from poller.adapters.alerting.heartbeat import HeartbeatUrl
from poller.adapters.alerting.targets import (
    MissingAppriseError,
    Target,
    UnknownUrlError,
    open_targets,
)
from poller.config import Settings, SettingsError


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """Return the targets of `alerts.urls`. Nothing is sent.

    Raises:
        SettingsError: the extra is not installed, or a URL cannot be used.
    """
    urls = [url.get_secret_value() for url in settings.alerts.urls]
    try:
        return open_targets(urls)
    except MissingAppriseError:
        problem = (
            "alerts.urls: Apprise is missing: install it beside the program with "
            "`pip install 'auth0-segment-poller[alerts]'`"
        )
    except UnknownUrlError as error:
        problem = (
            f"alerts.urls: URL {error.number} of {len(urls)} cannot be used: it must be an "
            "https:// URL, or one of https://appriseit.com/services/"
        )
    # Not inside an except block: a traceback must not lead to a URL.
    raise SettingsError((problem,))


def heartbeat_of(settings: Settings) -> HeartbeatUrl | None:
    """Return the dead man's switch, or None if the settings name none. Nothing is sent."""
    url = settings.alerts.heartbeat_url
    return None if url is None else HeartbeatUrl(url.get_secret_value())
