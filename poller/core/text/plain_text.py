"""Text from outside, made safe to show.

A person who logs in chooses a user agent and a name. Characters that move a terminal's cursor, that
change the order of the text, or that cannot be seen are shown as JSON writes them: `\\u001b`. So
JSON stays JSON, and no character is lost. Everything that this program shows goes through here:
every terminal, log and page.
"""

import unicodedata

_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
"""Characters that Python takes for printable, and that take no room or look like a space."""
_SPACES = "Zs"


class _Escapes(dict[int, str]):
    """The text that stands for each character. An entry is made when its character is met first."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_safe = character.isprintable() or unicodedata.category(character) == _SPACES
        self[code] = character if is_safe and character not in _UNSEEN else escaped(character)
        return self[code]


_ESCAPES = _Escapes()
_ESCAPES_OF_LINES = _Escapes({ord("\n"): "\n"})


def visible(text: str) -> str:
    """Return the text on one line, with an escape in place of each character that is not plain."""
    return text.translate(_ESCAPES)


def visible_lines(text: str) -> str:
    """Do the same for text of several lines, such as JSON."""
    return text.translate(_ESCAPES_OF_LINES)


def escaped(text: str) -> str:
    """Return every character as its JSON escape, or as two escapes outside the basic plane."""
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
