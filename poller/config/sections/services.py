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
    OptionalEndpoint,
    SecretKey,
    SecretWord,
    Share,
    Word,
)


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
        json_schema_extra=in_words("required, or private_key"),
    )
    private_key: SecretKey = Field(
        None,
        description="The private key of that application in PEM form, instead of the secret.",
    )
    base_url: BaseUrl = Field(
        default_factory=_base_url,
        description="The tenant's custom domain, or a proxy before the tenant. Requests go there.",
        json_schema_extra=in_words("https:// and the domain"),
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
        json_schema_extra=in_words("required"),
    )
    endpoint: Endpoint = Field(
        "https://api.segment.io",
        description="The origin of Segment's API. In the EU: https://events.eu1.segmentapis.com.",
    )
    cdn_endpoint: OptionalEndpoint = Field(
        default_factory=_cdn_endpoint,
        description="The origin of the CDN with the published settings of sources, which prove the "
        "write key.",
        json_schema_extra=in_words(
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
        json_schema_extra=in_words("the one of the region of endpoint"),
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
        json_schema_extra=in_words("the one of the region of endpoint"),
    )
    # It is None only if neither the name nor the key is known.
    source_name: Name | None = Field(
        default_factory=_source_name,
        validate_default=False,
        description="The name of the source in message ids and in the ledger. Keep it when you "
        "rotate the key.",
        json_schema_extra=in_words("a short hash of the write key"),
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
