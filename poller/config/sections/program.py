"""The sections on the program itself: ledger, log, HTTP endpoint, page and alerts."""

from typing import Literal, Self

from pydantic import Field, model_validator

from poller.config.parsers.ledger_urls import complete
from poller.config.sections.section import Section, in_words, unparsed
from poller.config.types import (
    Folder,
    Interval,
    LedgerUrl,
    Length,
    LogFormat,
    LogLevel,
    SecretText,
    SecretToken,
    SecretUrl,
    SecretUrls,
    SocketAddress,
)


class StateSettings(Section):
    """The ledger."""

    # The URL gets the password, so it is not in the repr.
    url: LedgerUrl = Field(
        repr=False,
        description="The ledger: the absolute path of a file, a sqlite:/// URL, or a "
        "postgresql+psycopg:// URL without the password. PostgreSQL needs the extra [postgres] of "
        "the package.",
        json_schema_extra=in_words(
            "in $STATE_DIRECTORY, or in /var/lib for a settings file in /etc, or in the user's "
            "state folder"
        ),
    )
    password: SecretText = Field(
        None,
        description="The password for a ledger in PostgreSQL. Without it libpq looks for one: "
        "PGPASSWORD, ~/.pgpass.",
        json_schema_extra=in_words("none"),
    )
    folder: Folder = Field(
        None,
        validate_default=False,
        description="The folder of this machine for what belongs to a ledger in PostgreSQL: the "
        "socket of `tail`, and the link of the page.",
        json_schema_extra=in_words("where the file of a ledger would be by default"),
    )
    dead_letter_retention: Length = Field(
        unparsed("30d"), description="How long dead letters are kept. 0s keeps them for ever."
    )

    @model_validator(mode="after")
    def _complete_url(self) -> Self:
        """Put the password and the folder into a URL of PostgreSQL, so that it says all."""
        password = self.password.get_secret_value() if self.password else None
        # pydantic offers no way to set a field of a frozen model, even here.
        object.__setattr__(self, "url", complete(self.url, password, self.folder))
        return self


class LogSettings(Section):
    """The log of the program itself."""

    level: LogLevel = Field(
        "info", description="The lowest level that is logged: debug, info, warning or error."
    )
    format: LogFormat = Field(
        "auto",
        description="The form of log lines: text, json, or auto. auto is text on a terminal and in "
        "the journal, else json.",
    )


class MetricsSettings(Section):
    """The HTTP endpoint of the daemon."""

    listen: SocketAddress = Field(
        None,
        validate_default=False,
        description="The address of /metrics, /healthz and /readyz, such as 127.0.0.1:9464.",
        json_schema_extra=in_words("none"),
    )
    ready_lag: Interval = Field(
        unparsed("10m"),
        description="/readyz answers 503 when the freshness is above poll.interval plus this time.",
    )


class PageSettings(Section):
    """The live page of the daemon."""

    listen: SocketAddress = Field(
        None,
        validate_default=False,
        description="The address of the live page, such as 127.0.0.1:9465. `page url` prints the "
        "link.",
        json_schema_extra=in_words("none"),
    )
    show: Literal["sent", "all"] = Field(
        "sent",
        description="The content of the page: sent for what leaves, after [privacy], or all for "
        "Auth0's records beside it.",
    )
    token: SecretToken = Field(
        None,
        description="The secret in the link of the page. It is required if page.listen is not an "
        "address of this machine alone.",
        json_schema_extra=in_words("a new one at each start"),
    )


class AlertsSettings(Section):
    """The messages of the daemon to people, and to a dead man's switch."""

    urls: SecretUrls = Field(
        (),
        description="Where alerts go: a list of Apprise URLs, and of https:// URLs of webhooks. "
        "They need the extra [alerts] of the package.",
        json_schema_extra=in_words("none"),
    )
    heartbeat_url: SecretUrl = Field(
        None,
        validate_default=False,
        description="The ping URL of a dead man's switch, such as healthchecks.io. It is called "
        "about once a minute while the daemon is well.",
    )
