"""The types of the settings: each parses a value and describes itself in the reference."""

from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, SecretStr

from poller.config.destinations import integrations
from poller.config.parsers import texts
from poller.config.parsers.endpoints import alert_url, endpoint_or_off, web_url
from poller.config.parsers.event_tables import (
    context_lines,
    event_names,
    event_types,
    privacy_fields,
)
from poller.config.parsers.expressions import JmesPath, expression, expressions
from poller.config.parsers.ledger_urls import absolute_folder, ledger_url
from poller.config.parsers.times import Start, parse_duration, parse_duration_or_off, parse_start
from poller.config.sources.secret_files import secret, secrets
from poller.core.translation.privacy import Form

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "json"]


class Type(NamedTuple):
    """The description of a type in the reference, and the rule that a wrong value breaks.

    `must_be` completes the sentence "must be …". It is needed if pydantic itself refuses the value.
    The parsers have their own messages.
    """

    text: str
    must_be: str = ""


_WHOLE = "a whole number of 1 or more"

NonEmptyText = Annotated[str, BeforeValidator(texts.word), Type("text")]
Name = Annotated[str, BeforeValidator(texts.name), Type("text")]
NameOrEmpty = Annotated[str, BeforeValidator(texts.name_or_empty), Type("text")]
Host = Annotated[str, BeforeValidator(texts.host_name), Type("host name")]
BaseUrl = Annotated[str, BeforeValidator(texts.base_url), Type("origin")]
Endpoint = Annotated[str, BeforeValidator(texts.endpoint), Type("origin")]
OptionalEndpoint = Annotated[str | None, BeforeValidator(endpoint_or_off), Type("origin | off")]
LedgerUrl = Annotated[str, BeforeValidator(ledger_url), Type("path | URL")]
Folder = Annotated[str | None, BeforeValidator(absolute_folder), Type("path")]
SecretText = Annotated[SecretStr | None, BeforeValidator(secret(texts.word)), Type("secret")]
SecretToken = Annotated[SecretStr | None, BeforeValidator(secret(texts.page_token)), Type("secret")]
SecretKey = Annotated[SecretStr | None, BeforeValidator(secret(texts.private_key)), Type("secret")]
SecretUrl = Annotated[SecretStr | None, BeforeValidator(secret(web_url)), Type("secret")]
SecretUrls = Annotated[
    tuple[SecretStr, ...], BeforeValidator(secrets(alert_url)), Type("list of secrets")
]
LoginTypes = Annotated[frozenset[str], BeforeValidator(texts.login_types), Type("list of types")]
Query = Annotated[JmesPath | None, BeforeValidator(expression), Type("JMESPath")]
Queries = Annotated[dict[str, JmesPath | None], BeforeValidator(expressions), Type("table")]
EventNames = Annotated[dict[str, str], BeforeValidator(event_names), Type("table")]
# The values are `EventType`, a class of core that pydantic cannot describe.
EventTypes = Annotated[dict[str, Any], BeforeValidator(event_types), Type("table")]
ContextLines = Annotated[dict[str, JmesPath | None], BeforeValidator(context_lines), Type("table")]
Fields = Annotated[dict[str, Form], BeforeValidator(privacy_fields), Type("table")]
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
# Retention). The window has to be shorter than the remaining hour.
LateWindow = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(le=timedelta(minutes=50)),
    Type("duration", "at most 50m"),
]
# A short time would begin a catch-up for a backlog that a drain sends in a moment.
IntervalOrOff = Annotated[
    Annotated[timedelta, Field(ge=timedelta(minutes=1), le=timedelta(days=30))] | None,
    BeforeValidator(parse_duration_or_off),
    Type("duration | off", "off, or at least 1m and at most 30d"),
]
