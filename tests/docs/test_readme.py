"""README and docs/ say what is so: commands parse, settings exist, codes and reasons are right."""

import ast
import json
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import get_args

import click
import pytest

from poller.adapters.segment.encoding import MessageEncoder
from poller.cli import program
from poller.config import SETTINGS
from poller.core.events import Stream, parse_events
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import DEAD_LETTER_REASONS, FilterReason, Profile
from poller.core.translation.translator import LiveTranslator
from tests.builders import calls_of
from tests.docs.pages import ALL, FILES, README, ROOT, json_blocks, page, shell_blocks

NAMES = {f"{setting.section}.{setting.key}" for setting in SETTINGS}
WORDS_OF_README = 700
WHY = {"reason", "defect"}


def invocations() -> list[list[str]]:
    """Every command line of the program that the pages show, in a block or in a line."""
    shown = [line for block in shell_blocks(ALL) for line in block.splitlines()]
    shown += re.findall(r"`((?:\w+=\S+ )*auth0-segment-poller [^`]+)`", ALL)
    found = [
        re.search(r"(?:^|/|&& |= ?)auth0-segment-poller +([^-].*)", line.strip()) for line in shown
    ]
    return [shlex.split(match[1], comments=True) for match in found if match]


def anchors(text: str) -> set[str]:
    """The anchors that a code host makes of a page's headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def test_the_first_screen_has_two_commands_of_one_line_each() -> None:
    first, second = (block.strip() for block in shell_blocks(README)[:2])
    assert "\n" not in first + second
    assert README.index(second) < README.index("\n## ")
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
    assert first.endswith("&& .venv/bin/auth0-segment-poller demo")
    assert second.endswith("&& .venv/bin/pytest")


def test_readme_is_short() -> None:
    assert len(README.split()) <= WORDS_OF_README


def test_the_proof_runs_the_command_that_readme_shows() -> None:
    command = shell_blocks(README)[1].strip()
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def known(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None, name
    return found


@pytest.mark.parametrize("arguments", invocations(), ids=" ".join)
def test_every_command_line_that_is_shown_can_be_parsed(arguments: list[str]) -> None:
    name, *rest = arguments
    command = known(name)
    assert isinstance(command, click.Command)
    command.make_context(name, rest)


def test_every_setting_that_is_named_exists() -> None:
    sections = {setting.section for setting in SETTINGS}
    named = set(re.findall(rf"`({'|'.join(sections)})\.([a-z_]+)", ALL))
    sources = [file.read_text() for file in (ROOT / "poller").rglob("*.py")]
    logged = set(re.findall(r'log\.\w+\(\s*"([a-z_.]+)"', "".join(sources)))
    assert {f"{section}.{key}" for section, key in named} <= NAMES | logged
    for section, key in re.findall(r"POLLER_([A-Z0-9]+)__([A-Z_]+)", ALL):
        # A route has the settings of the section segment for itself.
        own = f"segment.{key.partition('__')[2]}" if section == "ROUTES" else f"{section}.{key}"
        assert own.lower() in NAMES


def reasons(tree: ast.AST) -> set[str]:
    """Return the texts that a module gives as the reason of a dead letter."""
    named = [
        *(
            each.value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and ast.unparse(call.func) != "Filtered"
            for each in call.keywords
            if each.arg in WHY
        ),
        *(
            each.value
            for each in ast.walk(tree)
            if isinstance(each, ast.Assign)
            and any(isinstance(name, ast.Name) and name.id in WHY for name in each.targets)
        ),
    ]
    return {
        part.value
        for value in named
        for part in ast.walk(value)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def test_the_reasons_of_dead_letters_are_the_programs() -> None:
    trees = [ast.parse(file.read_text()) for file in (ROOT / "poller/core").rglob("*.py")]
    made = set().union(*map(reasons, trees))
    assert made == DEAD_LETTER_REASONS
    rows = re.findall(r"^\| `([a-z_]+)` \|", page("guides/dead-letters.md"), re.MULTILINE)
    assert set(rows) == made


def test_the_reasons_of_filtered_events_are_the_programs() -> None:
    section = page("what-is-sent.md").split("| reason | the event is left out because |")[1]
    rows = re.findall(r"^\| `([a-z_]+)` \|", section.split("\n\n")[0], re.MULTILINE)
    assert sorted(rows) == sorted(get_args(FilterReason))


def test_the_example_of_what_is_sent_is_what_is_made() -> None:
    event, fields, shown = (json.loads(block) for block in json_blocks(page("what-is-sent.md")))
    (parsed,) = parse_events([event], after=EARLIEST)
    assert parsed.date
    profile = Profile(
        user_id=fields["user_id"], read_at=parsed.date + timedelta(seconds=5), fields=fields
    )
    translator = LiveTranslator(Stream(domain="acme.us.auth0.com", source_name="web"))
    calls = calls_of(translator, [parsed], {profile.user_id: profile})
    encoder = MessageEncoder()
    made = [encoder.build(message) for message in calls.messages]
    for call in [*made, *shown]:
        call["context"]["library"].pop("version")
    assert made == shown


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(file: Path) -> None:
    text = file.read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
        linked = (file.parent / target).resolve() if target else file
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), f"{target}#{anchor}"


def test_every_file_that_is_named_exists() -> None:
    for file in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:toml|service|py|md))`", ALL):
        is_example = Path(file).name in {"config.toml", "_defaults.toml", "NAME.toml"}
        assert is_example or (ROOT / file).exists(), file


def test_every_log_line_that_is_named_is_in_the_code() -> None:
    code = "".join(file.read_text() for file in (ROOT / "poller").rglob("*.py"))
    lines = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', code))
    subjects = {line.partition(".")[0] for line in re.findall(r'log\.\w+\(\s*"([a-z_.]+)"', code)}
    written = "".join(file.read_text() for file in FILES if file.parent.name != "reference")
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", written)) - NAMES
    of_the_log = {name for name in named if name.partition(".")[0] in subjects}
    assert len(of_the_log) > 3
    assert of_the_log <= lines


def test_the_tour_shows_the_loop_as_the_code_has_it() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", page("internals/architecture.md"), re.DOTALL)
    code = (ROOT / "poller/core/forward.py").read_text()
    lines = [line.partition("  #")[0].rstrip() for line in shown.splitlines()]
    assert len(lines) > 8
    assert "\n".join(f"    {line}" for line in lines) in code
