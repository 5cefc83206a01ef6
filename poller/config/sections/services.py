"""The sections `auth0` and `segment`: the two services, and the credentials for them."""

from hashlib import sha256
from typing import Any

from pydantic import Field, SecretStr

from poller.config.regions import CDN, REGIONS, region_of
from poller.config.sections.section import Section, in_words
from poller.config.types import (
    BaseUrl,
    Count,
    CountOrZero,
    Endpoint,
    Host,
    Name,
    NameOrEmpty,
    NonEmptyText,
    OptionalEndpoint,
    SecretKey,
    SecretText,
    Share,
)


def _base_url(values: dict[str, Any]) -> str:
    return f"https://{values['domain']}"


def _source_name(values: dict[str, Any]) -> str | None:
    key: SecretStr | None = values["write_key"]
    if key:
        return sha256(key.get_secret_value().encode()).hexdigest()[:8]
    return None


def _cdn_endpoint(values: dict[str, Any]) -> str:
    return CDN if region_of(values["endpoint"]) else "off"


def _api_endpoint(values: dict[str, Any]) -> str:
    return (region_of(values["endpoint"]) or REGIONS[0]).public_api


def _oauth_endpoint(values: dict[str, Any]) -> str:
    return (region_of(values["endpoint"]) or REGIONS[0]).oauth


class Auth0Settings(Section):
    """The tenant, and how to sign in to it."""

    domain: Host = Field(
        description="The tenant's own host name, such as acme.us.auth0.com. Never a custom domain."
    )
    client_id: NonEmptyText = Field(
        description="The client id of the machine-to-machine application that has the scope "
        "read:logs."
    )
    client_secret: SecretText = Field(
        None,
        description="The secret of that application.",
        json_schema_extra=in_words("required, or private_key"),
    )
    private_key: SecretKey = Field(
        None,
        description="The private key of that application in PEM form, instead of the secret.",
    )
    base_url: BaseUrl = Field(
        default_factory=_base_url,
        description="The address to send requests to: a custom domain, or a proxy in front of the "
        "tenant.",
        json_schema_extra=in_words("https:// and the domain"),
    )
    rate_share: Share = Field(
        0.8,
        description="The part of the tenant's rate limit to use. Your own applications keep the "
        "rest.",
    )


class SegmentSettings(Section):
    """The Segment source, and how to send to it."""

    write_key: SecretText = Field(
        None,
        description="The write key of the Segment source.",
        json_schema_extra=in_words("required"),
    )
    endpoint: Endpoint = Field(
        "https://api.segment.io",
        description="The origin of Segment's API. In the EU: https://events.eu1.segmentapis.com.",
    )
    cdn_endpoint: OptionalEndpoint = Field(
        default_factory=_cdn_endpoint,
        description="The origin of Segment's CDN. The published settings of a source show that "
        "the write key exists.",
        json_schema_extra=in_words(
            "https://cdn.segment.com if segment.endpoint is an address of Segment, else off"
        ),
    )
    api_token: SecretText = Field(
        None,
        description="The token of Segment's Public API, for check, preview, verify and the hourly "
        "look of the daemon. Use a read-only token.",
    )
    api_endpoint: BaseUrl = Field(
        default_factory=_api_endpoint,
        description="The origin of Segment's Public API. A token works only in its own region.",
        json_schema_extra=in_words("the address in the region of segment.endpoint"),
    )
    source_id: NonEmptyText | None = Field(
        None,
        validate_default=False,
        description="The id of the source in Segment. It is needed only if api_token may not read "
        "write keys.",
    )
    oauth_client_id: NonEmptyText | None = Field(
        None,
        validate_default=False,
        description="The id of the Segment OAuth application, for a source that enforces OAuth.",
    )
    oauth_key_id: NonEmptyText | None = Field(
        None,
        validate_default=False,
        description="The id of the public key of the Segment OAuth application.",
    )
    oauth_private_key: SecretKey = Field(
        None,
        description="The private key of the Segment OAuth application: an RSA key in PEM form.",
    )
    oauth_scope: NonEmptyText = Field(
        "tracking_api:write", description="The scope of the tokens that the program requests."
    )
    oauth_endpoint: BaseUrl = Field(
        default_factory=_oauth_endpoint,
        description="The origin of Segment's authorization server. A token works only in its own "
        "region.",
        json_schema_extra=in_words("the address in the region of segment.endpoint"),
    )
    # The name is None only if neither the name nor the write key is known.
    source_name: Name | None = Field(
        default_factory=_source_name,
        validate_default=False,
        description="The name of the source in message ids and in the ledger. With a name of your "
        "own, a change of the key asks no question.",
        json_schema_extra=in_words("a short hash of the write key"),
    )
    generation: NameOrEmpty = Field(
        "",
        description="A part of every message id. A new value begins a new stream with new message "
        "ids, so history can be sent as new events.",
    )
    refusal_limit: Count = Field(
        20,
        description="After this many refused events in a row, of more than one user, the program "
        "stops sending: the settings are probably wrong.",
    )
    max_messages_per_second: CountOrZero = Field(
        1000,
        description="The most messages to send in a second, as Segment advises. 0 means no limit.",
    )
