"""The help texts, their examples, and the suggestions for mistyped names."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from poller.cli import COMMANDS, program
from poller.cli.groups import NAME


def every_command() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())


EVERY = dict(every_command())


def shown(*words: str) -> str:
    return CliRunner().invoke(program, [*words, "--help"], terminal_width=80).output


@pytest.mark.parametrize("name", EVERY)
def test_no_help_text_is_cut(name: str) -> None:
    assert "..." not in shown(*name.split()).replace("[ID]...", "").replace(
        "[ARGS]...", ""
    ).replace("[PATH]...", "")


@pytest.mark.parametrize("name", EVERY)
def test_every_command_shows_examples_that_can_be_typed(name: str) -> None:
    lines = [
        line.strip()
        for line in shown(*name.split()).split("Examples:")[1].splitlines()
        if line.strip()
    ]
    assert lines
    for line in lines:
        program, *words = shlex.split(re.split(r" [<|>] ", line)[0])
        assert program == NAME
        assert line.startswith(f"{NAME} {name}")
        command = EVERY[name]
        if not isinstance(command, click.Group):
            command.make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("chek", "did you mean check?"),
        ("dead-letter", "did you mean dead-letters?"),
        ("ledger shw", "did you mean show?"),
        ("zzz", "the commands are init, run, worker, backfill, check"),
    ],
)
def test_a_mistyped_command_is_answered_with_what_comes_near(typed: str, said: str) -> None:
    ended = CliRunner().invoke(program, typed.split())
    assert ended.exit_code == 2
    assert said in ended.output


@pytest.mark.process
@pytest.mark.parametrize("name", ["status", "dead_letters", "ledger"])
def test_a_command_that_asks_no_service_does_not_wait_for_the_libraries_that_do(name: str) -> None:
    slow = (
        "aiohttp apscheduler auth0 httpcore jmespath prometheus_client rich segment structlog "
        "tenacity"
    )
    look = (
        f"import sys, poller.cli.commands.{name}; "
        f"print(*sorted({{*'{slow}'.split()}} & {{*sys.modules}}))"
    )
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
