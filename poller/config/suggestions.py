"""What someone probably meant by a name that is no setting."""

from collections.abc import Iterable
from difflib import get_close_matches

from poller.config.catalogue import SETTINGS

_UNKNOWN = "unknown"


def nearest_section(name: str) -> str:
    """What to say of an unknown table, or of a key above every table."""
    homes = [f"[{setting.section}]" for setting in SETTINGS if setting.key == name]
    if homes:
        return f"{_UNKNOWN} here: it belongs under {homes[0]}"
    sections = dict.fromkeys(setting.section for setting in SETTINGS)
    return _suggest("section", name, sections, "[{}]")


def nearest_key(section: str, name: str) -> str:
    """What to say of an unknown key of a known section."""
    homes = [f"[{setting.section}]" for setting in SETTINGS if setting.key == name]
    if homes:
        return f"{_UNKNOWN} in [{section}]: it belongs under {homes[0]}"
    return _suggest(
        "key", name, [setting.key for setting in SETTINGS if setting.section == section], "{}"
    )


def nearest_variable(name: str) -> str:
    """What to say of a variable that looks like a setting and is none."""
    return _suggest("setting", name, [setting.variable for setting in SETTINGS], "{}")


def _suggest(kind: str, name: str, known: Iterable[str], form: str) -> str:
    known = list(known)
    close = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    if close:
        return f"{_UNKNOWN} {kind}: did you mean {form.format(close[0])}?"
    return f"{_UNKNOWN} {kind}"
