"""Privacy: which personal data leaves, and in which form."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Email = Literal["plain", "hmac", "omit"]
Address = Literal["plain", "truncate", "omit"]
Agent = Literal["plain", "omit"]
Name = Literal["plain", "omit"]
Form = Literal["plain", "hmac", "omit"]
"""The form of a single field."""
FORMS: tuple[Form, ...] = get_args(Form)

_KEPT_BITS = {4: 24, 6: 48}
"""The bits of a truncated address that stay. They name a network and no household."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The form in which e-mails, IP addresses, user agents, names and single fields leave.

    `fields` holds forms by the path of a field, such as `traits.plan`, `properties.connection` or
    `context.ip`. They are applied last, to values in the form of the other settings.
    """

    email: Email = "plain"
    ip: Address = "plain"
    user_agent: Agent = "plain"
    user_name: Name = "plain"
    fields: Mapping[str, Form] = field(default_factory=dict)
    hmac_key: bytes = field(default=b"", repr=False)

    def of_email(self, email: str | None) -> str | None:
        """Return the e-mail, its HMAC, or None."""
        if email is None or self.email == "plain":
            return email
        if self.email == "omit":
            return None
        return self.hmac_of(email)

    def hmac_of(self, value: object) -> str:
        """Return HMAC-SHA256 in hex, of the trimmed text in lower case.

        An e-mail thus has one HMAC, however it is written and in whichever field it stands.
        """
        text = str(value).strip().lower()
        return hmac.new(self.hmac_key, text.encode(), hashlib.sha256).hexdigest()

    def of_fields(self, values: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """Return the values with the form of each field under `path` applied, in tables too."""
        if not self.fields:
            return values
        return {
            key: kept
            for key, value in values.items()
            if (kept := self._of_field(value, f"{path}.{key}")) is not None
        }

    def _of_field(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return self.of_fields(value, path) or None
        match self.fields.get(path, "plain"):
            case "omit":
                return None
            case "hmac":
                return self.hmac_of(value)
        return value

    def of_ip(self, ip: str | None) -> str | None:
        """Return the address, the address of its /24 or /48 network, or None."""
        if ip is None or self.ip == "plain":
            return ip
        if self.ip == "omit":
            return None
        bits = _KEPT_BITS[ipaddress.ip_address(ip).version]
        return str(ipaddress.ip_network(f"{ip}/{bits}", strict=False).network_address)

    def of_agent(self, agent: str | None) -> str | None:
        """Return the user agent, or None."""
        return agent if self.user_agent == "plain" else None

    def of_name(self, name: str | None, *, email: str | None) -> str | None:
        """Return the name, or None.

        If e-mails are not sent in plain text, a name that is an e-mail, or the part of an e-mail
        before the @, is not sent either. Auth0 fills `name` with the e-mail and `nickname` with
        that part if it knows no other name.
        """
        if name is None or self.user_name == "omit":
            return None
        local = email.partition("@")[0].strip().lower() if email else None
        is_of_email = "@" in name or name.strip().lower() == local
        if self.email != "plain" and is_of_email:
            return None
        return name


PLAIN = Privacy()
