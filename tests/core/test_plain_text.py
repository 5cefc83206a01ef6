"""No character that moves a cursor, turns the reading order or cannot be seen is shown raw."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.text.plain_text import visible, visible_lines

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_every_unsafe_character_there_is_becomes_an_escape() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in UNSAFE:
            shown = visible(character)
            assert shown.isascii()
            assert shown.isprintable()
            assert json.loads(f'"{shown}"') == character


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\u001b[2J"),
        ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("\x9b31m", r"\u009b31m"),
        ("a\x7fb", r"a\u007fb"),
        ("\u202eevil", r"\u202eevil"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u200bb\u200dc\ufeffd", r"a\u200bb\u200dc\ufeffd"),
        ("one\ntwo\r\tthree\u2028", r"one\u000atwo\u000d\u0009three\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\u3164\u034f", r"\u3164\u034f"),
        ("Zoë 山田\u3000太郎 \u00a0 😀 naïve", "Zoë 山田\u3000太郎 \u00a0 😀 naïve"),
    ],
)
def test_unsafe_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_json_stays_the_same_json(text: str) -> None:
    for written in (
        json.dumps(text),
        json.dumps({text: [text]}, indent=2),
        json.dumps(text, ensure_ascii=False),
    ):
        assert json.loads(visible_lines(written)) == json.loads(written)


@given(st.text())
def test_visible_text_is_not_escaped_again(text: str) -> None:
    assert visible(visible(text)) == visible(text)
