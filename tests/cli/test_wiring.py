"""The rules of the wiring that no type can hold."""

import re

from tests.paths import ROOT


def test_every_translator_takes_the_stream_of_the_ledger() -> None:
    """The ledger may know other names for message ids than the settings: `ledger key`."""
    built = re.compile(r"(?:Translator|kind)\(\s*stream_of\(")
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "poller").rglob("*.py")
        if built.search(path.read_text())
    ]
    assert not wrong
