"""The installed command, a settings file, and a sandbox between them."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from poller import sandbox
from tests.process.template import Forked, Template

NEVER_LOGGED = re.compile(
    r"@example\.com|203\.0\.113\.|auth0\|0|google-oauth2\|0|sandbox-secret|sandboxWriteKey|"
    r"sandboxApiToken|sandboxOAuthToken|PRIVATE KEY|eyJ[\w-]{8}|Bearer |Basic "
)
"""The personal data of the simulated tenant, its secrets, and any token."""
COMMAND = Path(sys.executable).with_name("auth0-segment-poller")
SHORT_WAITS: dict[str, Any] = {"poller.service.upstream.retry.Backoff.__init__:first": 0.1}
"""A first delay of retries that no test waits a second for. The delays double from there."""
LONG_WAITS: dict[str, Any] = {"poller.service.observability.connections.REQUEST_S": 600.0}
"""The time of a client for its request. It suits a test that is suspended in between."""
SHORT_PATIENCE: dict[str, Any] = {
    "poller.service.lifecycle.one_shot.run_once:patience": 3.0,
    "poller.cli.commands.check.PATIENCE": 3.0,
}
"""A patience that a test can wait out."""
FINISH_GRACE_S = "poller.service.lifecycle.ending.finish:grace_s"
LONG_GRACE: dict[str, Any] = {
    FINISH_GRACE_S: 600.0,
    "poller.service.lifecycle.ending.GRACE_S": 600.0,
}
"""A grace in which the page at hand settles on any machine."""
PATIENCE_S = 300.0
"""The longest wait for an event that must come. It suits a machine that is far slower."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


class Sandbox(ABC):
    """The simulated tenant and collector, as a test in another process sees them."""

    facts: dict[str, str]
    """The addresses and secrets, as the sandbox prints them."""

    def ask(self, path: str, /, **body: Any) -> Any:
        """POST to the control API if there are arguments, and GET otherwise."""
        request = urllib.request.Request(
            f"{self.facts['control_url'].rstrip('/')}/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"null")

    def truth(self) -> dict[str, Any]:
        """Return the comparison of the log with the messages that arrived."""
        truth: dict[str, Any] = self.ask("truth")
        return truth

    @abstractmethod
    def close(self) -> None:
        """Stop the servers."""


class SandboxThread(Sandbox):
    """A sandbox in a thread of the test process, which starts in a few milliseconds."""

    def __init__(
        self, *, seed: int | None = None, events: int = 0, plan: str = "enterprise"
    ) -> None:
        self._sandbox = sandbox.Sandbox(seed=seed, plan=plan)
        self._sandbox.__enter__()
        self._sandbox.begin_with(events)
        self.facts = self._sandbox.facts()

    def close(self) -> None:
        self._sandbox.__exit__(None, None, None)


class SandboxProcess(Sandbox):
    """A sandbox in a process of its own, which shares no processor time with the test."""

    def __init__(self, **options: Any) -> None:
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "poller.sandbox", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.facts = json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE_S)


@dataclass
class Bench:
    """One settings file between a sandbox and a ledger."""

    sandbox: Sandbox
    folder: Path
    overrides: dict[str, str] = field(default_factory=dict)
    template: Template | None = None
    constants: dict[str, Any] = field(default_factory=lambda: SHORT_WAITS | LONG_WAITS)
    """Other values for constants of the program, for the commands that the template forks."""

    @property
    def settings(self) -> Path:
        return self.folder / "config.toml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def write_settings(self, **changes: Any) -> None:
        """Write the settings file. A change is named section__key and replaces one line."""
        facts = self.sandbox.facts
        values: dict[str, Any] = {
            "auth0__domain": facts["domain"],
            "auth0__client_id": facts["client_id"],
            "auth0__client_secret": facts["client_secret"],
            "auth0__base_url": facts["auth0_url"],
            "segment__write_key": facts["write_key"],
            "segment__endpoint": facts["segment_url"],
            "poll__interval": "1s",
            "poll__start": "earliest",
            "state__url": f"sqlite:///{self.ledger}",
            "log__level": "debug",
            **self.overrides,
            **changes,
        }
        sections: dict[str, list[str]] = {}
        for name, value in values.items():
            section, _, key = name.partition("__")
            sections.setdefault(section, []).append(f"{key} = {json.dumps(value)}")
        text = "\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items())
        self.settings.touch(mode=0o600)
        self.settings.write_text(text + "\n")

    def start(
        self,
        *arguments: str,
        environ: dict[str, str] | None = None,
        has_config: bool = True,
        is_held: bool = False,
    ) -> "Running":
        """Start a command, forked from the template where the interpreter is the same.

        A command that is held does nothing before `Running.go_on`.
        """
        changed = {name for name in environ or () if name.startswith("PYTHON")}
        is_other = bool(changed - {"PYTHONIOENCODING"})
        return Running(
            self._command(arguments) if has_config else [str(COMMAND), *arguments],
            self.folder,
            dict(os.environ) | (environ or {}),
            None if is_other else self.template,
            self.constants,
            is_held=is_held,
        )

    def run(
        self,
        *arguments: str,
        timeout_s: float = PATIENCE_S,
        environ: dict[str, str] | None = None,
        has_config: bool = True,
    ) -> Ended:
        """Run a command to its end, with `--config` and the settings unless told otherwise."""
        return self.start(*arguments, environ=environ, has_config=has_config).wait(timeout_s)

    def on_a_terminal(self, *arguments: str, **environ: str) -> tuple[int, str]:
        """Run a command that writes to a terminal, and return its exit code and what it wrote."""
        assert self.template is not None
        ours, theirs = pty.openpty()
        terminal = Path(os.ttyname(theirs))
        command = self.template.start(
            self._command(arguments),
            environ=dict(os.environ) | environ,
            folder=self.folder,
            out=terminal,
            err=terminal,
            constants=self.constants,
        )
        seen, deadline = b"", time.monotonic() + PATIENCE_S
        while command.poll() is None or select.select([ours], [], [], 0)[0]:
            assert time.monotonic() < deadline, seen
            if select.select([ours], [], [], 0.02)[0]:
                seen += os.read(ours, 65536)
        os.close(ours)
        os.close(theirs)
        return command.wait(), seen.decode().replace("\r\n", "\n")

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        command = [str(COMMAND), *arguments]
        if arguments and arguments[0] not in {"demo", "--version"}:
            command += ["--config", str(self.settings)]
        return command

    def position(self) -> str:
        """Return the position of the live span, read from the ledger file."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)
        ) as connection:
            (reached,) = connection.execute(
                "SELECT reached FROM span WHERE until IS NULL"
            ).fetchone()
        return str(reached)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").out)
        return found

    def assert_conserved(
        self, *, dead_letters: int = 0, duplicates: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Assert that each event was delivered once and in order, except for dead letters."""
        truth = self.sandbox.truth()
        assert truth["delivered"] == truth["expected"] - len(truth["lost"])
        assert len(truth["lost"]) == dead_letters, truth["lost"]
        assert tuple(truth["duplicated"]) == duplicates
        assert not truth["unexpected"]
        assert not truth["altered"]
        assert not truth["misordered"]
        assert not truth["rejected"]
        return truth


def new_outputs(folder: Path) -> tuple[Path, Path]:
    """Return two new files for the output and the log of a command, so that no pipe can fill up."""
    number = len(list(folder.glob("*.err")))
    return folder / f"{number}.out", folder / f"{number}.err"


def ended(code: int, out: Path, err: Path, encoding: str = "utf-8") -> Ended:
    """Return how a command ended, and fail if its log holds a secret or personal data."""
    log = err.read_text(encoding)
    leaked = NEVER_LOGGED.search(log)
    assert leaked is None, f"{leaked} in the log:\n{log}"
    return Ended(code, out.read_text(encoding), log)


class Running:
    """A command that is running. It writes its output and its log to files."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        environ: dict[str, str],
        template: Template | None = None,
        constants: dict[str, Any] | None = None,
        *,
        is_held: bool = False,
    ) -> None:
        self._out, self._err = new_outputs(folder)
        self._encoding = environ.get("PYTHONIOENCODING", "utf-8")
        self.process: subprocess.Popen[bytes] | Forked
        if template is not None:
            self._out.touch()  # the child opens both later, and a test may read before it does
            self._err.touch()
            self.process = template.start(
                command,
                environ=environ,
                folder=folder,
                out=self._out,
                err=self._err,
                constants=constants,
                is_held=is_held,
            )
            return
        assert not is_held, "only a template holds a command"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, cwd=folder, env=environ
            )

    def wait(self, timeout_s: float = PATIENCE_S) -> Ended:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {timeout_s} s:\n{self.err}") from None
        return ended(code, self._out, self._err, self._encoding)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        """The lines of the log so far. A line that is being written is left out."""
        whole, end, _ = self._err.read_bytes().rpartition(b"\n")
        return (whole + end).decode(self._encoding)

    def says(self, event: str) -> bool:
        return f'"event": "{event}"' in self.err

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def go_on(self) -> None:
        """Let a command begin that is held."""
        assert isinstance(self.process, Forked)
        self.process.go_on()

    def stop(self) -> Ended:
        """Stop the process in order, once it listens. Before that, a signal only kills it."""
        eventually("an ear for the stop", self._listens_or_has_ended)
        self.signal()
        return self.wait()

    def _listens_or_has_ended(self) -> bool:
        """Return whether the process has a handler of SIGTERM, or needs none any more."""
        if self.process.poll() is not None:
            return True
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[0]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def eventually(what: str, holds: Any, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first truthy value of `holds()`, and fail with `what` if none comes in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.1)  # to ask costs the sandbox a look at everything there is
    raise AssertionError(f"never came: {what}")


@contextmanager
def bench(folder: Path, sandbox: Sandbox, template: Template | None = None) -> Iterator[Bench]:
    """Open a bench in a folder, and close its sandbox in the end."""
    try:
        made = Bench(sandbox, folder, template=template)
        made.write_settings()
        yield made
    finally:
        sandbox.close()


MakeBench = Callable[..., Bench]


def tracks(bench: Bench) -> list[str]:
    messages = [arrival["message"] for arrival in bench.sandbox.ask("messages")]
    return [message["messageId"] for message in messages if message["type"] == "track"]


def messages(bench: Bench) -> list[dict[str, Any]]:
    return [arrival["message"] for arrival in bench.sandbox.ask("messages", count=20_000)]


def sent(bench: Bench, *arguments: Any) -> tuple[Ended, list[dict[str, Any]]]:
    """Send files by a backfill, and return its end and its JSON: plan, files and summary."""
    ended = bench.run("backfill", "--yes", "--json", "--from-file", *map(str, arguments))
    return ended, [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
