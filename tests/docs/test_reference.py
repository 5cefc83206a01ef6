"""The pages of the reference are what the code says now."""

import re

import pytest

from poller.cli import COMMANDS
from poller.config import SETTINGS
from tests.docs import man_page
from tests.docs.reference import ENVIRONMENT, FOLDER, PAGES, text_of
from tests.paths import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_each_reference_page_agrees_with_the_code(name: str) -> None:
    is_current = (FOLDER / name).read_text() == text_of(name)
    assert is_current, "run `python -m tests.docs.reference`, and look at the difference"


def test_the_manual_page_agrees_with_the_code() -> None:
    is_current = man_page.FILE.read_text() == man_page.text_of_page()
    assert is_current, "run `python -m tests.docs.reference`, and look at the difference"


def test_the_manual_page_names_every_command_and_every_option() -> None:
    text = man_page.text_of_page().replace("\\-", "-")
    assert {name for name in COMMANDS if f".SS {name}\n" not in text} == set()
    options = set(re.findall(r"^\| `(--[a-z-]+)", text_of("commands.md"), re.MULTILINE))
    assert len(options) > 30
    assert {name for name in options if f".TP\n\\fB{name}" not in text} == set()


def test_every_page_of_the_folder_is_generated() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(PAGES)


def test_every_variable_of_the_environment_is_in_the_code() -> None:
    code = "".join(file.read_text() for file in (ROOT / "poller").rglob("*.py"))
    library = {"HTTPS_PROXY", "NO_PROXY"}  # urllib reads them
    assert all(name in code for name in ENVIRONMENT if name not in library)


def test_no_help_text_becomes_markup() -> None:
    for name in PAGES:
        text = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->", "", text_of(name), flags=re.DOTALL)
        assert "<" not in text, name


def test_every_setting_has_a_help_text() -> None:
    assert all(setting.help.endswith(".") for setting in SETTINGS)


def test_every_field_of_the_json_output_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (.*) \|$", text_of("json-output.md"), re.MULTILINE)
    assert len(rows) > 100
    assert [name for name, _, meaning in rows if not meaning.strip()] == []
