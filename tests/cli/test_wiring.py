"""The rules of the wiring that no type can hold."""

import re
from pathlib import Path

from poller.cli.wiring.metrics import observer_of
from poller.config import load_settings, read_toml
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
