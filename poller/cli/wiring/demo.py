"""The settings of the demo, which lead to the sandbox and to nothing else."""

import os
from pathlib import Path

from poller.config import Settings, load_settings
from poller.sandbox import Sandbox


def demo_settings(sandbox: Sandbox, folder: Path, **segment: str) -> Settings:
    """Return the settings of a user of the sandbox, with these settings of Segment changed."""
    environ = {
        "POLLER_AUTH0__DOMAIN": sandbox.tenant.domain,
        "POLLER_AUTH0__CLIENT_ID": sandbox.tenant.client_id,
        "POLLER_AUTH0__CLIENT_SECRET": sandbox.tenant.client_secret,
        "POLLER_AUTH0__BASE_URL": sandbox.auth0_url,
        "POLLER_SEGMENT__WRITE_KEY": sandbox.write_key,
        "POLLER_SEGMENT__ENDPOINT": sandbox.segment_url,
        "POLLER_PAGE__LISTEN": "127.0.0.1:0",
        "POLLER_POLL__INTERVAL": "1s",
        "POLLER_POLL__START": "earliest",
        "POLLER_STATE__URL": f"sqlite:///{folder / 'ledger.db'}",
        **{f"POLLER_SEGMENT__{name.upper()}": value for name, value in segment.items()},
        **{name: os.environ[name] for name in ("HOME",) if name in os.environ},
    }
    return load_settings(None, environ)
