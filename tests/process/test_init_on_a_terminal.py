"""The command `init` on a terminal, as a person uses it."""

import os
import pty
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.process.bench import COMMAND, PATIENCE_S, Bench

CTRL_C, CTRL_D, NO_TEXT = b"\x03", b"\x04", b"\xff\xfe\n"


class Person:
    """A person at a terminal of 80 columns, on which `init` runs."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.seen = ""
        self._read_up_to = 0
        self._terminal, self._other_end = pty.openpty()
        # The first process of a session gets the terminal that it opens, with Ctrl-C.
        line = 'exec "$0" init <"$1" >"$1" 2>&1'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", line, str(COMMAND), os.ttyname(self._other_end)],
            cwd=folder,
            env={**os.environ, **environ},
            start_new_session=True,
        )

    def answers(self, prompt: str, data: str | bytes) -> None:
        """Wait for the prompt, and type."""
        deadline = time.monotonic() + PATIENCE_S
        while prompt not in self.seen[self._read_up_to :]:
            assert time.monotonic() < deadline, self.seen
            assert self._read(), self.seen
        self._read_up_to = self.seen.index(prompt, self._read_up_to) + len(prompt)
        os.write(self._terminal, f"{data}\n".encode() if isinstance(data, str) else data)

    def end(self) -> int:
        """Return the exit code."""
        os.close(self._other_end)
        while self._read():
            pass
        os.close(self._terminal)
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # EIO: the command has ended
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@pytest.fixture
def home(plain: Bench) -> dict[str, str]:
    """Return the environment of a person who has no settings file yet."""
    plain.settings.unlink()
    facts = plain.sandbox.facts
    return {
        "HOME": str(plain.folder),
        "POLLER_AUTH0__BASE_URL": facts["auth0_url"],
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def test_a_newcomer_corrects_wrong_answers_and_ends_with_settings_that_are_proved(
    plain: Bench, home: dict[str, str]
) -> None:
    facts = plain.sandbox.facts
    person = Person(plain.folder, home)
    person.answers("Domain: ", "")
    person.answers("Domain is empty", b"")
    person.answers("Domain: ", "acme")
    person.answers("Domain: ", f"https://{facts['domain']}/")
    person.answers("Client ID: ", facts["client_id"])
    person.answers("Client Secret (hidden): ", NO_TEXT)
    person.answers("Client Secret (hidden): ", facts["client_secret"])
    person.answers("Write Key (hidden): ", facts["write_key"])
    person.answers("Region (us or eu): ", facts["segment_url"])
    assert person.end() == 0, person.seen
    for text in ("must be the whole host name", "✓ token    granted", "preview --last 5"):
        assert text in person.seen
    for secret in ("client_secret", "write_key"):
        assert facts[secret] not in person.seen
    assert (
        max(len(line) for line in person.seen.splitlines() if str(plain.folder) not in line) <= 80
    )
    assert stat.S_IMODE(plain.settings.stat().st_mode) == 0o600
    assert "2 events. Nothing was sent" in plain.run("preview", "--last", "2").out


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["Ctrl-C", "Ctrl-D"])
def test_a_person_who_leaves_leaves_nothing_behind(
    plain: Bench, home: dict[str, str], key: bytes
) -> None:
    before = sorted(plain.folder.rglob("*"))
    person = Person(plain.folder, home)
    person.answers("Domain: ", "acme.us.auth0.com")
    person.answers("Client ID: ", "abc")
    person.answers("Client Secret (hidden): ", key)
    assert person.end() == 130, person.seen
    assert person.seen.rstrip().endswith("Nothing was written.")
    assert sorted(plain.folder.rglob("*")) == before


def test_a_person_who_changes_nothing_is_told_that_the_files_stay_and_the_next_step(
    plain: Bench, home: dict[str, str]
) -> None:
    text = "[poll]\n"
    plain.settings.write_text(text)
    person = Person(plain.folder, home)
    person.answers("Change it? [y/N]: ", "")
    assert person.end() == 130, person.seen
    for line in (
        "Nothing was written.",
        "check` looks at them",
        f"init {plain.settings.name}` asks",
    ):
        assert line in person.seen
    assert plain.settings.read_text() == text
