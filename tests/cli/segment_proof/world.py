"""A sandbox, and the settings of a user of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poller.config import Settings, load_settings
from poller.sandbox import Sandbox


@dataclass
class World:
    """The sandbox, and the settings that lead to it."""

    sandbox: Sandbox
    folder: Path

    def settings(self, **changes: Any) -> Settings:
        """Return the settings with these changes, each named section__key."""
        tenant = self.sandbox.tenant
        values = {
            "auth0__domain": tenant.domain,
            "auth0__client_id": tenant.client_id,
            "auth0__client_secret": tenant.client_secret,
            "auth0__base_url": self.sandbox.auth0_url,
            "segment__write_key": self.sandbox.write_key,
            "segment__endpoint": self.sandbox.segment_url,
            "segment__cdn_endpoint": self.sandbox.cdn_url,
            "state__url": str(self.folder / "ledger.db"),
            **changes,
        }
        environ = {f"POLLER_{name.upper()}": value for name, value in values.items() if value}
        return load_settings(None, environ)
