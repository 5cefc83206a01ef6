"""The rules of the wiring that no type can hold."""

import re
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from poller.cli.wiring.metrics import observer_of
from poller.cli.wiring.services import connect, credentials_of
from poller.cli.wiring.tenants import Tenants
from poller.config import Settings, load_settings, read_toml
from poller.service.observability.meter import Meter
from poller.service.watching.feed import Feed
from tests.paths import ROOT


def test_each_type_that_the_settings_send_has_a_count_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[metrics]\nlisten = "127.0.0.1:0"\n[events.types.logout]\nname = "Logged Out"\n'
    )
    settings = load_settings(read_toml(path), {"HOME": "/home/ada"}, secrets=False)
    meter = observer_of(settings, Feed())
    assert isinstance(meter, Meter)
    assert meter.events.read == {"s": 0, "ss": 0, "slo": 0, "other": 0}


def test_every_translator_takes_the_stream_of_the_ledger() -> None:
    """The ledger may know other names for message ids than the settings: `ledger key`."""
    built = re.compile(r"(?:Translator|kind)\(\s*stream_of\(")
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "poller").rglob("*.py")
        if built.search(path.read_text())
    ]
    assert not wrong


def test_pipelines_of_one_tenant_share_limits_and_only_those_of_one_secret_a_token(
    tmp_path: Path,
) -> None:
    def settings_of(name: str, secret: str, domain: str = "acme.us.auth0.com") -> Settings:
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'[auth0]\ndomain = "{domain}"\nclient_id = "c"\nclient_secret = "{secret}"\n'
            f'[segment]\nwrite_key = "key-of-{name}"\n'
        )
        return load_settings(path, {"HOME": "/home/ada"})

    tenants, stopping = Tenants(), threading.Event()
    with ExitStack() as stack:
        first, second, typo, other = (
            stack.enter_context(connect(each, stopping, tenants=tenants))
            for each in (
                settings_of("first", "right"),
                settings_of("second", "right"),
                settings_of("typo", "wrong"),
                settings_of("other", "right", "globex.us.auth0.com"),
            )
        )
        first.rate_limiter.acquire("logs")
        first.rate_limiter.observe("logs", limit=10, remaining=7, reset_in=timedelta(seconds=1))
        for each in (first, second, typo):
            status = each.rate_limiter.status("logs")
            assert status is not None
            assert status.remaining == 7
        assert other.rate_limiter.status("logs") is None
    one, two, three = (
        tenants.token_of(settings_of(name, secret), credentials_of(settings_of(name, secret)))
        for name, secret in (("first", "right"), ("second", "right"), ("typo", "wrong"))
    )
    assert one is two
    assert one is not three
