"""Suggestions for a name that is not a setting."""

from collections.abc import Iterable

from poller.config.catalogue import SETTINGS

_UNKNOWN = "unknown"


def nearest_section(name: str) -> str:
    """Describe an unknown table, or a key above every table."""
    owners = [f"[{setting.section}]" for setting in SETTINGS if setting.key == name]
    if owners:
        return f"{_UNKNOWN} here: it belongs under {owners[0]}"
    sections = dict.fromkeys(setting.section for setting in SETTINGS)
    return _suggest("section", name, sections, "[{}]")


def nearest_key(section: str, name: str) -> str:
    """Describe an unknown key of a known section."""
    owners = [f"[{setting.section}]" for setting in SETTINGS if setting.key == name]
    if owners:
        return f"{_UNKNOWN} in [{section}]: it belongs under {owners[0]}"
    return _suggest(
        "key", name, [setting.key for setting in SETTINGS if setting.section == section], "{}"
    )


def nearest_key_of_route(name: str, known: Iterable[str]) -> str:
    """Describe an unknown key of a route, which may have the keys of a source for itself."""
    owners = [f"[{each.section}]" for each in SETTINGS if each.key == name]
    if owners:
        return f"{_UNKNOWN} in a route: it belongs under {owners[0]}, for all routes"
    return _suggest("key", name, known, "{}")


def nearest_variable(name: str) -> str:
    """Describe an unknown variable that begins like a setting."""
    return _suggest("setting", name, [setting.variable for setting in SETTINGS], "{}")


def nearest_pipeline(name: str, known: Iterable[str]) -> str:
    """Describe the name of a pipeline that its folder does not hold."""
    return _suggest("pipeline", name, known, "{}")


def _suggest(kind: str, name: str, known: Iterable[str], form: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only after a mistake

    known = list(known)
    close = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    if close:
        return f"{_UNKNOWN} {kind}: did you mean {form.format(close[0])}?"
    return f"{_UNKNOWN} {kind}"
