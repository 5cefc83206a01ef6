"""Every setting: its name, type, default and help text.

Defaults are written as a user would write them, and parsed like any other value. The order here is
the order in config.example.toml and in the reference.
"""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from poller.config.destinations import integrations
from poller.config.parsers import texts
from poller.config.parsers.endpoints import endpoint_or_off
from poller.config.parsers.expressions import JmesPath, expression, expressions
from poller.config.parsers.times import Start, parse_duration, parse_start
from poller.config.regions import CDN, REGIONS, region_of
from poller.config.sources.secret_files import secret
from poller.core.translation import privacy
from poller.core.translation.presets import PresetName
from poller.core.translation.rules import Frequency

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "json"]


class Type(NamedTuple):
    """The description of a type in the reference, and the rule that a wrong value breaks.

    `must_be` completes the sentence "must be …". It is needed where pydantic itself refuses the
    value. The parsers have messages of their own.
    """

    text: str
    must_be: str = ""


_WHOLE = "a whole number from 1 on"

Word = Annotated[str, BeforeValidator(texts.word), Type("text")]
Name = Annotated[str, BeforeValidator(texts.name), Type("text")]
NameOrEmpty = Annotated[str, BeforeValidator(texts.name_or_empty), Type("text")]
Host = Annotated[str, BeforeValidator(texts.host_name), Type("host name")]
BaseUrl = Annotated[str, BeforeValidator(texts.base_url), Type("origin")]
Endpoint = Annotated[str, BeforeValidator(texts.endpoint), Type("origin")]
OptionalEndpoint = Annotated[str | None, BeforeValidator(endpoint_or_off), Type("origin | off")]
LedgerUrl = Annotated[str, BeforeValidator(texts.ledger_url), Type("path | URL")]
SecretWord = Annotated[SecretStr | None, BeforeValidator(secret(texts.word)), Type("secret")]
SecretKey = Annotated[SecretStr | None, BeforeValidator(secret(texts.private_key)), Type("secret")]
LoginTypes = Annotated[frozenset[str], BeforeValidator(texts.login_types), Type("list of types")]
Query = Annotated[JmesPath | None, BeforeValidator(expression), Type("JMESPath")]
Queries = Annotated[dict[str, JmesPath | None], BeforeValidator(expressions), Type("table")]
Destinations = Annotated[dict[str, Any], BeforeValidator(integrations), Type("table")]
SocketAddress = Annotated[texts.Socket | None, BeforeValidator(texts.socket), Type("address:port")]
StartAt = Annotated[Start, BeforeValidator(parse_start), Type("now | earliest | date | time")]
Flag = Annotated[bool, Type("true | false", "true or false")]
Count = Annotated[
    int, BeforeValidator(texts.refuse_boolean), Field(ge=1), Type("whole number", _WHOLE)
]
CountOrZero = Annotated[
    int, BeforeValidator(texts.refuse_boolean), Field(ge=0), Type("whole number", f"0, or {_WHOLE}")
]
Share = Annotated[
    float,
    BeforeValidator(texts.refuse_boolean),
    Field(gt=0, le=1),
    Type("number", "a number above 0 and up to 1, such as 0.8"),
]
# No plan of Auth0 keeps its log for longer than 30 days.
Interval = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(ge=timedelta(seconds=1), le=timedelta(days=30)),
    Type("duration", "at least 1s and at most 30d"),
]
Length = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(le=timedelta(days=3650)),
    Type("duration", "at most 3650d"),
]
# The shortest retention of Auth0 is a day, of which 23 hours are relied on (Auth0 docs: Log Data
# Retention). The window has to be shorter than the hour between.
LateWindow = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(le=timedelta(minutes=50)),
    Type("duration", "at most 50m"),
]


def _in_words(default: str) -> dict[str, Any]:
    """Describe a default that is no fixed value."""
    return {"default_text": default}


def _unparsed(default: object) -> Any:
    """Return a default whose type is not yet the type of its field."""
    return default


def _base_url(values: dict[str, Any]) -> str:
    return f"https://{values['domain']}"


def _source_name(values: dict[str, Any]) -> str | None:
    key: SecretStr | None = values["write_key"]
    return sha256(key.get_secret_value().encode()).hexdigest()[:8] if key else None


def _cdn_endpoint(values: dict[str, Any]) -> str:
    return CDN if region_of(values["endpoint"]) else "off"


def _api_endpoint(values: dict[str, Any]) -> str:
    return (region_of(values["endpoint"]) or REGIONS[0]).public_api


def _oauth_endpoint(values: dict[str, Any]) -> str:
    return (region_of(values["endpoint"]) or REGIONS[0]).oauth


def _frequency(values: dict[str, Any]) -> Frequency:
    return "changes" if values["preset"] == "spec" else "always"


class Section(BaseModel):
    """One table of the file."""

    # Only `Settings` is validated, and its schema holds those of the sections. With `defer_build`
    # pydantic builds no validator for each section, which would take half of the import.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        defer_build=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _prepare(cls, value: object, info: ValidationInfo) -> object:
        """Refuse the placeholder of the example, and let choices be written in capitals."""
        texts.refuse_placeholder(value)
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, str) and get_origin(field.annotation) is Literal:
            return value.lower()
        return value


class Auth0Settings(Section):
    """The tenant, and how to sign in to it."""

    domain: Host = Field(
        description="The tenant's own host name, such as acme.us.auth0.com. Never a custom domain."
    )
    client_id: Word = Field(
        description="The client id of the machine-to-machine application that may read:logs."
    )
    client_secret: SecretWord = Field(
        None,
        description="The secret of that application.",
        json_schema_extra=_in_words("required, or private_key"),
    )
    private_key: SecretKey = Field(
        None,
        description="The private key of that application in PEM form, instead of the secret.",
    )
    base_url: BaseUrl = Field(
        default_factory=_base_url,
        description="The tenant's custom domain, or a proxy before the tenant. Requests go there.",
        json_schema_extra=_in_words("https:// and the domain"),
    )
    rate_share: Share = Field(
        0.8,
        description="The part of the tenant's rate limit to use. Your own applications keep the "
        "rest.",
    )


class SegmentSettings(Section):
    """The Segment source, and how to send to it."""

    write_key: SecretWord = Field(
        None,
        description="The write key of the Segment source.",
        json_schema_extra=_in_words("required"),
    )
    endpoint: Endpoint = Field(
        "https://api.segment.io",
        description="The origin of Segment's API. In the EU: https://events.eu1.segmentapis.com.",
    )
    cdn_endpoint: OptionalEndpoint = Field(
        default_factory=_cdn_endpoint,
        description="The origin of the CDN with the published settings of sources, which prove the "
        "write key.",
        json_schema_extra=_in_words(
            "https://cdn.segment.com if endpoint is Segment's own, else off"
        ),
    )
    api_token: SecretWord = Field(
        None,
        description="The token of Segment's Public API, for check and preview. Best read-only.",
    )
    api_endpoint: BaseUrl = Field(
        default_factory=_api_endpoint,
        description="The origin of Segment's Public API. A token works only in its own region.",
        json_schema_extra=_in_words("the one of the region of endpoint"),
    )
    source_id: Word | None = Field(
        None,
        validate_default=False,
        description="The id of the source in Segment, for a token that may not see write keys.",
    )
    oauth_client_id: Word | None = Field(
        None,
        validate_default=False,
        description="The id of the OAuth application, for a source that enforces OAuth.",
    )
    oauth_key_id: Word | None = Field(
        None, validate_default=False, description="The id of the application's public key."
    )
    oauth_private_key: SecretKey = Field(
        None, description="The private key of the application, RSA in PEM form."
    )
    oauth_scope: Word = Field(
        "tracking_api:write", description="The scope that tokens are asked for."
    )
    oauth_endpoint: BaseUrl = Field(
        default_factory=_oauth_endpoint,
        description="The origin of Segment's authorization server. A token works only in its own "
        "region.",
        json_schema_extra=_in_words("the one of the region of endpoint"),
    )
    # It is None only if neither the name nor the key is known.
    source_name: Name | None = Field(
        default_factory=_source_name,
        validate_default=False,
        description="The name of the source in message ids and in the ledger. Keep it when you "
        "rotate the key.",
        json_schema_extra=_in_words("a short hash of the write key"),
    )
    generation: NameOrEmpty = Field(
        "",
        description="A part of every message id. With a new value, history can be sent again.",
    )
    refusal_limit: Count = Field(
        20,
        description="After this many refused events in a row, of more than one user, the program "
        "stops sending: the settings are probably wrong.",
    )
    max_events_per_second: CountOrZero = Field(
        1000,
        description="The most messages to send in a second, as Segment advises. 0 is no limit.",
    )


class BackfillSettings(Section):
    """The history that a backfill sends."""

    integrations: Destinations = Field(
        default_factory=dict,
        description="The destinations that history goes to, as a table in Segment's own form.",
        json_schema_extra=_in_words("all"),
    )


class PollSettings(Section):
    """The polls of the daemon."""

    interval: Interval = Field(
        _unparsed("30s"), description="The time between two polls, such as 30s, 5m or 1h."
    )
    start: StartAt = Field(
        _unparsed("now"),
        description="The beginning of the very first start: now, earliest, a date or a time.",
    )
    late_window: LateWindow = Field(
        _unparsed("10m"),
        description="How late an event may reach the log. The log is read a second time that much "
        "later. 0s turns this off.",
    )


class LoginsSettings(Section):
    """The log events that count as logins."""

    types: LoginTypes = Field(_unparsed(["s"]), description="Log event types that count as logins.")
    include_sso: Flag = Field(
        default=True, description="Whether logins on an existing session count as logins."
    )


class SignupsSettings(Section):
    """The log events that count as signups."""

    derive: Flag = Field(
        default=True,
        description="Whether a first login by a social, enterprise or passwordless connection "
        "counts as a signup.",
    )
    include_api_created: Flag = Field(
        default=True,
        description="Whether users created by the Management API or the dashboard count as "
        "signups.",
    )


class EventsSettings(Section):
    """The calls that events become."""

    preset: PresetName = Field(
        "rule",
        description="The names in the calls: rule as in Auth0's own rule, spec as in Segment's "
        "spec.",
    )
    when: Query = Field(
        None, description="A condition. Only events for which it holds are forwarded."
    )
    user_id: Query = Field(
        None,
        description="The user id in the calls.",
        json_schema_extra=_in_words("the event's user_id"),
    )
    identify: Frequency = Field(
        default_factory=_frequency,
        description="When to send identify: always, or changes: at a signup, for a new user and "
        "for new traits.",
        json_schema_extra=_in_words("always with the preset rule, changes with spec"),
    )
    groups: Flag = Field(
        default=True,
        description="Whether to send a group call when a user logs in to an organization, unless "
        "Segment knows it already.",
    )
    traits: Queries = Field(
        default_factory=dict,
        description="More traits, each with an expression. false removes one of the preset's.",
    )
    properties: Queries = Field(
        default_factory=dict,
        description="More properties of track calls, each with an expression. false removes one.",
    )


class PrivacySettings(Section):
    """The personal data in the calls."""

    email: privacy.Email = Field("plain", description="E-mail addresses: plain, hmac or omit.")
    ip: privacy.Address = Field(
        "plain", description="IP addresses: plain, truncate (to /24 or /48) or omit."
    )
    user_agent: privacy.Agent = Field("plain", description="User agents: plain or omit.")
    user_name: privacy.Name = Field("plain", description="Names of people: plain or omit.")
    hmac_key: SecretWord = Field(
        None, description="The key for e-mail addresses that are sent as HMAC-SHA256."
    )


class StateSettings(Section):
    """The ledger."""

    # A URL may hold a password, so it is not in the repr.
    url: LedgerUrl = Field(
        repr=False,
        description="The ledger, by its absolute path.",
        json_schema_extra=_in_words(
            "in $STATE_DIRECTORY, or in /var/lib for a settings file in /etc, or in the user's "
            "state folder"
        ),
    )
    dead_letter_retention: Length = Field(
        _unparsed("30d"), description="How long dead letters are kept. 0s keeps them for ever."
    )


class LogSettings(Section):
    """The log of the program itself."""

    level: LogLevel = Field(
        "info", description="The least level that is logged: debug, info, warning or error."
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
        json_schema_extra=_in_words("none"),
    )
    ready_lag: Interval = Field(
        _unparsed("10m"),
        description="The lag, beyond poll.interval, from which on /readyz answers 503.",
    )


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    auth0: Auth0Settings
    segment: SegmentSettings
    poll: PollSettings
    backfill: BackfillSettings
    logins: LoginsSettings
    signups: SignupsSettings
    events: EventsSettings
    privacy: PrivacySettings
    state: StateSettings
    log: LogSettings
    metrics: MetricsSettings
    path: Path | None = None
    """The file that was read."""
