"""What of a person leaves, and in what shape; pure."""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field
from typing import Literal

Email = Literal["plain", "hmac", "omit"]
Address = Literal["plain", "truncate", "omit"]
Agent = Literal["plain", "omit"]
Name = Literal["plain", "omit"]

_KEPT_BITS = {4: 24, 6: 48}
"""Of an address that is truncated: what is left names a network, and no household."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """How e-mails, IP addresses, user agents and names leave; `hmac_key` is for e-mails as "hmac", and nothing else."""

    email: Email = "plain"
    ip: Address = "plain"
    user_agent: Agent = "plain"
    user_name: Name = "plain"
    hmac_key: bytes = field(default=b"", repr=False)

    def of_email(self, email: str | None) -> str | None:
        """The e-mail itself, its HMAC-SHA256 in hex (of the trimmed e-mail in lower case), or nothing."""
        if email is None or self.email == "plain":
            return email
        if self.email == "omit":
            return None
        return hmac.new(self.hmac_key, email.strip().lower().encode(), hashlib.sha256).hexdigest()

    def of_ip(self, ip: str | None) -> str | None:
        """The address itself, that of its /24 or /48 network, or nothing."""
        if ip is None or self.ip == "plain":
            return ip
        if self.ip == "omit":
            return None
        address = ipaddress.ip_address(ip)
        return str(
            ipaddress.ip_network(
                (address, _KEPT_BITS[address.version]), strict=False
            ).network_address
        )

    def of_agent(self, agent: str | None) -> str | None:
        """The user agent, or nothing."""
        return agent if self.user_agent == "plain" else None

    def of_name(self, name: str | None, *, email: str | None) -> str | None:
        """The name, or nothing: also where e-mails do not leave plain, and it is one, or the first part of one.

        Auth0 fills `name` with the e-mail and `nickname` with its first part where it knows no better.
        """
        if name is None or self.user_name == "omit":
            return None
        local = email.partition("@")[0].strip().lower() if email else None
        return (
            None
            if self.email != "plain" and ("@" in name or name.strip().lower() == local)
            else name
        )


PLAIN = Privacy()
