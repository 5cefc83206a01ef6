"""All settings, in the order of config.example.toml and of the reference."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, InstanceOf

from poller.config.sections.forwarding import (
    BackfillSettings,
    CatchUpSettings,
    EventsSettings,
    LoginsSettings,
    PollSettings,
    PrivacySettings,
    SignupsSettings,
)
from poller.config.sections.program import (
    AlertsSettings,
    LogSettings,
    MetricsSettings,
    PageSettings,
    StateSettings,
)
from poller.config.sections.services import Auth0Settings, SegmentSettings
from poller.core.translation.routing import Routing


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    auth0: Auth0Settings
    segment: SegmentSettings
    poll: PollSettings
    catch_up: CatchUpSettings
    backfill: BackfillSettings
    logins: LoginsSettings
    signups: SignupsSettings
    events: EventsSettings
    privacy: PrivacySettings
    state: StateSettings
    log: LogSettings
    metrics: MetricsSettings
    page: PageSettings
    alerts: AlertsSettings
    path: Path | None = None
    """The file that was read."""
    pipeline: str = ""
    """The name of the pipeline in a folder of settings files. A file alone has none.

    A route has the name of the file and its own, such as `acme.shop`.
    """
    routing: InstanceOf[Routing] | None = None
    """The routes of the file, if it has any. Then these are the settings of one of them."""
    sources_of_routes: tuple[tuple[str, str], ...] = ()
    """The source name and the generation of each route, in their order, if secrets were read."""

    @property
    def makes_hashes(self) -> bool:
        """True if some value leaves as a hash, so that `privacy.hmac_key` is needed."""
        is_anonymous = any(each.is_anonymous for each in self.events.types.values())
        return (
            is_anonymous or self.privacy.email == "hmac" or "hmac" in self.privacy.fields.values()
        )
