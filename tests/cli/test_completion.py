"""The values that a shell is offered after the tab key."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from poller.cli import COMMANDS, program
from poller.cli.groups import NAME
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST, LogId
from poller.core.outcomes import DEAD_LETTER_REASONS
from tests.adapters.sql_ledger.ledgers import opened, url
from tests.builders import page, record, settlement
from tests.fakes import STREAM, numbered

VARIABLE = "_AUTH0_SEGMENT_POLLER_COMPLETE"


def offered(*words: str) -> dict[str, str | None]:
    """Return the values for the last of the words, with the text beside each."""
    *before, last = words
    complete = ShellComplete(program, {}, NAME, VARIABLE)
    return {item.value: item.help for item in complete.get_completions(before, last)}


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the settings of a ledger with two events that have no user id."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        read = page(1, 2, kind="no_user")
        ledger.settle(settlement(ledger.begin(after=EARLIEST), read))
    file = tmp_path / "config.toml"
    file.write_text(f'[state]\nurl = "{url(path)}"\n')
    return str(file)


def test_the_commands_are_offered() -> None:
    assert set(offered("")) == set(COMMANDS)
    assert set(offered("dead-letters", "re")) == {"replay"}
    assert "--config" in offered("dead-letters", "list", "--")


@pytest.mark.parametrize("command", ["show", "discard", "replay"])
def test_the_ids_of_dead_letters_are_offered_with_their_reasons(config: str, command: str) -> None:
    both = {numbered(number): "no_user_id" for number in (1, 2)}
    assert offered("dead-letters", command, "--config", config, "") == both
    assert offered("trace", "--config", config, "") == both
    assert list(offered("dead-letters", command, "--config", config, numbered(2))) == [numbered(2)]


def test_every_reason_is_offered_with_the_number_of_its_letters(config: str) -> None:
    reasons = offered("dead-letters", "list", "--config", config, "--reason", "")
    assert set(reasons) == DEAD_LETTER_REASONS
    assert {reason: number for reason, number in reasons.items() if number != "0"} == {
        "no_user_id": "2"
    }


@pytest.mark.parametrize(
    "command",
    [("ledger", "set-position"), ("ledger", "remove-stream"), ("ledger", "key", "rotated")],
)
def test_the_source_names_of_the_ledger_are_offered(config: str, command: tuple[str, ...]) -> None:
    names = offered(*command, "--config", config, "--source-name", "")
    assert names == {STREAM.source_name: STREAM.domain}


def test_a_value_that_a_shell_would_expand_is_not_offered(config: str) -> None:
    hostile = ("$(reboot)", "a;b", "a b", "`id`", "*", "\x1b[2J")
    with opened(Path(config).with_name("ledger.db")) as ledger:
        live = ledger.live_span()
        assert live is not None
        span = ledger.begin_work(live)
        assert span is not None
        ids = [f"99{number}{text}" for number, text in enumerate(hostile)]
        records = [record(3, "no_user") | {"log_id": log_id} for log_id in (*ids, "999")]
        events = parse_events(records, after=EARLIEST)
        ledger.settle(settlement(span, replace(page(3), events=events, position=LogId("999"))))
    assert set(offered("trace", "--config", config, "99")) == {"999"}


def test_a_ledger_that_cannot_be_read_offers_nothing_and_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    for text in (f'[state]\nurl = "{tmp_path}/none.db"\n', "junk"):
        file.write_text(text)
        assert offered("dead-letters", "show", "--config", str(file), "") == {}
    assert offered("dead-letters", "show", "--config", str(tmp_path / "none.toml"), "") == {}
    assert capsys.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
