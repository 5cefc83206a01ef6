"""Every setting, declared once: its name, its type, its default and its line of help."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from poller.config.destinations import integrations
from poller.config.parsers import texts
from poller.config.parsers.endpoints import endpoint_or_off
from poller.config.parsers.expressions import Expression, expression, lines
from poller.config.parsers.times import StartAt, interval, late_window, length, start_at
from poller.config.regions import CDN, REGIONS, region_of
from poller.config.sources.secret_files import secret
from poller.core.translation import privacy
from poller.core.translation.presets import PresetName
from poller.core.translation.privacy import Address, Agent, Email
from poller.core.translation.rules import Frequency


class Type(NamedTuple):
    """What a user is told about the type of a setting; it rides along in the annotation."""

    text: str
    is_secret: bool = False


Word = Annotated[str, BeforeValidator(texts.word), Type("text")]
Name = Annotated[str, BeforeValidator(texts.name), Type("text")]
Host = Annotated[str, BeforeValidator(texts.host_name), Type("host name")]
BaseUrl = Annotated[str, BeforeValidator(texts.base_url), Type("origin")]
Endpoint = Annotated[str, BeforeValidator(texts.endpoint), Type("origin")]
OptionalEndpoint = Annotated[str | None, BeforeValidator(endpoint_or_off), Type("origin | off")]
LedgerUrl = Annotated[str, BeforeValidator(texts.ledger_url), Type("SQLAlchemy URL")]
Level = Annotated[str, BeforeValidator(texts.level), Type(" | ".join(texts.LEVELS))]
LogFormat = Annotated[
    str, BeforeValidator(texts.one_of(texts.LOG_FORMATS)), Type(" | ".join(texts.LOG_FORMATS))
]
SecretWord = Annotated[
    SecretStr | None, BeforeValidator(secret(texts.word)), Type("secret", is_secret=True)
]
SecretKey = Annotated[
    SecretStr | None, BeforeValidator(secret(texts.private_key)), Type("secret", is_secret=True)
]
Interval = Annotated[timedelta, BeforeValidator(interval), Type("duration")]
Length = Annotated[timedelta, BeforeValidator(length), Type("duration")]
Generation = Annotated[str, BeforeValidator(texts.generation), Type("text")]
Flag = Annotated[bool, BeforeValidator(texts.flag), Type("true | false")]
LoginTypes = Annotated[frozenset[str], BeforeValidator(texts.login_types), Type("list of types")]
EmailShape = Annotated[
    Email, BeforeValidator(texts.one_of(get_args(Email))), Type(" | ".join(get_args(Email)))
]
AddressShape = Annotated[
    Address, BeforeValidator(texts.one_of(get_args(Address))), Type(" | ".join(get_args(Address)))
]
AgentShape = Annotated[
    Agent, BeforeValidator(texts.one_of(get_args(Agent))), Type(" | ".join(get_args(Agent)))
]
NameShape = Annotated[
    privacy.Name,
    BeforeValidator(texts.one_of(get_args(privacy.Name))),
    Type(" | ".join(get_args(privacy.Name))),
]
PresetChoice = Annotated[
    PresetName,
    BeforeValidator(texts.one_of(get_args(PresetName))),
    Type(" | ".join(get_args(PresetName))),
]
FrequencyChoice = Annotated[
    Frequency,
    BeforeValidator(texts.one_of(get_args(Frequency))),
    Type(" | ".join(get_args(Frequency))),
]
Query = Annotated[Expression | None, BeforeValidator(expression), Type("JMESPath")]
Lines = Annotated[dict[str, Expression | None], BeforeValidator(lines), Type("table")]
Count = Annotated[int, BeforeValidator(texts.count), Type("whole number")]
CountOrNone = Annotated[int, BeforeValidator(texts.count_or_none), Type("whole number")]
Routes = Annotated[dict[str, Any], BeforeValidator(integrations), Type("table")]
Share = Annotated[float, BeforeValidator(texts.share), Type("number")]
SocketAddress = Annotated[texts.Socket | None, BeforeValidator(texts.socket), Type("address:port")]
LateWindow = Annotated[timedelta, BeforeValidator(late_window), Type("duration")]
Start = Annotated[StartAt, BeforeValidator(start_at), Type("now | earliest | date | time")]


def _default(text: str) -> dict[str, Any]:
    return {"default_text": text}


def _written(default: object) -> Any:
    # The type of a default before it is parsed is not that of its field.
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


def _frequency(values: dict[str, Any]) -> Frequency:
    return "changes" if values["preset"] == "spec" else "always"


class Section(BaseModel):
    """One table of the file. Defaults are written as a user would write them, and parsed like the rest."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )


class Auth0Settings(Section):
    domain: Host = Field(
        description="The tenant's own host name, as acme.us.auth0.com, never a custom domain: tokens are for that name."
    )
    client_id: Word = Field(
        description="Client id of the machine-to-machine application that may read:logs."
    )
    client_secret: SecretWord = Field(
        None,
        description="Secret of that application.",
        json_schema_extra=_default("required, or private_key"),
    )
    private_key: SecretKey = Field(
        None,
        description="Private key of that application, in PEM form, in place of the client secret.",
    )
    base_url: BaseUrl = Field(
        default_factory=_base_url,
        description="Where requests go: the tenant's custom domain, or a proxy before it; plain http only to loopback.",
        json_schema_extra=_default("https:// and the domain"),
    )
    rate_share: Share = Field(
        0.8,
        description="The part of the tenant's rate limit to use; the rest is left to your own applications.",
    )


class SegmentSettings(Section):
    write_key: SecretWord = Field(
        None, description="Write key of the Segment source.", json_schema_extra=_default("required")
    )
    endpoint: Endpoint = Field(
        "https://api.segment.io",
        description="Origin of Segment's API; in the EU https://events.eu1.segmentapis.com.",
    )
    cdn_endpoint: OptionalEndpoint = Field(
        default_factory=_cdn_endpoint,
        description="Origin of the CDN that publishes settings of sources, to prove the write key.",
        json_schema_extra=_default(
            "https://cdn.segment.com if endpoint is Segment's own, else off"
        ),
    )
    api_token: SecretWord = Field(
        None, description="Token of Segment's Public API, for check and preview. Best read-only."
    )
    api_endpoint: BaseUrl = Field(
        default_factory=_api_endpoint,
        description="Origin of Segment's Public API. A token works only in its own region.",
        json_schema_extra=_default("that of the region of endpoint"),
    )
    source_id: Word | None = Field(
        None,
        validate_default=False,
        description="Id of the source in Segment, for a token that may not see write keys.",
    )
    # None only where neither name nor key is known.
    source_name: Name | None = Field(
        default_factory=_source_name,
        validate_default=False,
        description="Names the source in message ids and in the ledger; keep it when rotating the key.",
        json_schema_extra=_default("a short hash of the write key"),
    )
    generation: Generation = Field(
        "",
        description="Part of every message id and of the stream; a new one lets corrected history be sent again.",
    )
    refusal_limit: Count = Field(
        20,
        description="So many events in a row refused by Segment block the daemon: then it is us, not the data.",
    )
    max_events_per_second: CountOrNone = Field(
        1000,
        description="The most messages to send in a second, by Segment's own advice; 0: as many as there are.",
    )


class BackfillSettings(Section):
    integrations: Routes = Field(
        default_factory=dict,
        description="Which destinations history goes to, in Segment's own form: a table.",
        json_schema_extra=_default("all"),
    )


class PollSettings(Section):
    interval: Interval = Field(
        _written("30s"), description="Time between two polls, as 30s, 5m or 1h."
    )
    start: Start = Field(
        _written("now"),
        description="Where the very first start begins: now, earliest, a date or a time.",
    )
    late_window: LateWindow = Field(
        _written("10m"),
        description="How far behind the log is read once more for events that came in late; 0s: not at all.",
    )


class LoginsSettings(Section):
    types: LoginTypes = Field(_written(["s"]), description="Log event types that count as logins.")
    include_sso: Flag = Field(
        default=True, description="Whether logins on an existing session count too."
    )


class SignupsSettings(Section):
    derive: Flag = Field(
        default=True,
        description="Whether the first login by a social, enterprise or passwordless connection is a signup.",
    )
    include_api_created: Flag = Field(
        default=True,
        description="Whether users made through the Management API or the dashboard count as signups.",
    )


class EventsSettings(Section):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    preset: PresetChoice = Field(
        "rule",
        description="The shape of the calls: rule, as Auth0 documented it, or spec, with Segment's own names.",
    )
    when: Query = Field(
        None, description="Forwards only the logins and signups for which this holds."
    )
    user_id: Query = Field(
        None,
        description="Who it is: an expression.",
        json_schema_extra=_default("the event's user_id"),
    )
    identify: FrequencyChoice = Field(
        default_factory=_frequency,
        description="When to send identify: always, or on signup, first sight and changes of the traits.",
        json_schema_extra=_default("always with the preset rule, changes with spec"),
    )
    groups: Flag = Field(
        default=True, description="Whether new members of an organization make a group call."
    )
    traits: Lines = Field(
        default_factory=dict,
        description="A table of traits beside the preset's, each an expression; false takes one away.",
    )
    properties: Lines = Field(
        default_factory=dict, description="The same for the properties of tracks."
    )


class PrivacySettings(Section):
    email: EmailShape = Field("plain", description="How e-mails leave: plain, hmac or omit.")
    ip: AddressShape = Field(
        "plain", description="How IP addresses leave: plain, truncate (to /24 or /48) or omit."
    )
    user_agent: AgentShape = Field("plain", description="How user agents leave: plain or omit.")
    user_name: NameShape = Field("plain", description="How names of people leave: plain or omit.")
    hmac_key: SecretWord = Field(
        None, description="Key of the HMAC-SHA256 of e-mails, where they leave as hmac."
    )


class StateSettings(Section):
    # Kept out of repr: a URL may hold a password.
    url: LedgerUrl = Field(
        repr=False,
        description="The ledger, by its absolute path.",
        json_schema_extra=_default(
            "$STATE_DIRECTORY; else /var/lib for a file in /etc; else the XDG state folder"
        ),
    )
    dead_letter_retention: Length = Field(
        _written("30d"), description="How long dead letters are kept; 0s: for ever."
    )


class LogSettings(Section):
    level: Level = Field("info", description="What is logged: debug, info, warning or error.")
    format: LogFormat = Field(
        "auto",
        description="The form of log lines: text, json, or auto: text on a terminal and in the journal, else json.",
    )


class MetricsSettings(Section):
    listen: SocketAddress = Field(
        None,
        validate_default=False,
        description="Where the daemon answers /metrics, /healthz and /readyz, as 127.0.0.1:9464.",
        json_schema_extra=_default("nowhere"),
    )
    ready_lag: Interval = Field(
        _written("10m"),
        description="A lag longer than this and poll.interval is one that /readyz answers 503 to.",
    )


class Settings(BaseSettings):
    """All settings. It reads nothing by itself: `layers` are tables of tables, of which the earlier ones win."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the process's own, not the one handed in
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- no such file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- a layer has them
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        layers = (
            init_settings.init_kwargs.pop("layers", ())
            if isinstance(init_settings, InitSettingsSource)
            else ()
        )
        return (init_settings, *(InitSettingsSource(settings_cls, layer) for layer in layers))
