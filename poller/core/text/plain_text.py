"""Text from outside, made safe to show.

Whoever logs in chooses a user agent and a name. Characters that move a terminal's cursor, change the order of what is
read, or cannot be seen are shown as JSON writes them: `\\u001b`. So JSON stays JSON, and nothing else is lost.
Everything that this program shows goes through here: every terminal, log and page.
"""

import unicodedata

_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
"""Python takes these for printable, and they take no room or look like a space."""
_SPACES = "Zs"


class _Escapes(dict[int, str]):
    """What stands for each character, found when it is met first."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_safe = character.isprintable() or unicodedata.category(character) == _SPACES
        self[code] = character if is_safe and character not in _UNSEEN else escaped(character)
        return self[code]


_ESCAPES = _Escapes()
_ESCAPES_OF_LINES = _Escapes({ord("\n"): "\n"})


def visible(text: str) -> str:
    """Return the text on one line, with an escape in place of each character that is no plain one."""
    return text.translate(_ESCAPES)


def visible_lines(text: str) -> str:
    """Do the same for text of several lines, such as JSON."""
    return text.translate(_ESCAPES_OF_LINES)


def escaped(text: str) -> str:
    """Return every character as its JSON escape, in two halves where it needs them."""
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
