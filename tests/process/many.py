"""A folder of settings files, each between a sandbox of its own and a ledger."""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.process.bench import (
    COMMAND,
    LONG_WAITS,
    SHORT_WAITS,
    Bench,
    Ended,
    Running,
    Sandbox,
    SandboxThread,
    eventually,
)
from tests.process.template import Template


class PipelineBench(Bench):
    """One settings file of the folder."""

    name: str = ""
    is_shared = False
    """True if the ledger is the one that the defaults name."""

    @property
    def settings(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def ledger(self) -> Path:
        return self.folder.parent / ("shared.db" if self.is_shared else f"{self.name}.db")

    def write_settings(self, **changes: Any) -> None:
        super().write_settings(**changes)
        text = re.sub(r"\[log\]\nlevel = .*\n", "", self.settings.read_text())
        if self.is_shared:
            text = re.sub(r"(\[state\]\n)url = .*\n", r"\1", text)
        self.settings.write_text(text)


class Many:
    """The folder, and its process."""

    def __init__(self, path: Path, template: Template | None, stack: ExitStack) -> None:
        self.folder = path / "many"
        self.folder.mkdir()
        self._out = path
        self._template = template
        self._stack = stack
        self.benches: dict[str, PipelineBench] = {}
        self.constants: dict[str, Any] = {}
        """Other values for constants of the program."""

    def write_defaults(self, text: str = "") -> None:
        (self.folder / "_defaults.toml").write_text(f'[log]\nlevel = "debug"\n{text}')

    def add(
        self,
        name: str,
        sandbox: Sandbox | None = None,
        *,
        is_shared: bool = False,
        events: int = 60,
        **changes: Any,
    ) -> PipelineBench:
        """Write the settings of a pipeline between a new sandbox, or a known one, and a ledger."""
        if sandbox is None:
            sandbox = SandboxThread(seed=len(self.benches) + 1, events=events)
            self._stack.callback(sandbox.close)
        bench = PipelineBench(sandbox, self.folder, template=self._template)
        bench.name, bench.is_shared = name, is_shared
        bench.overrides = {"segment__source_name": name, **changes}
        bench.write_settings()
        self.benches[name] = bench
        return bench

    def start(self, *arguments: str, environ: dict[str, str] | None = None) -> Running:
        command = [str(COMMAND), *(arguments or ("run",)), "--config", str(self.folder)]
        waits = SHORT_WAITS | LONG_WAITS | self.constants
        whole = os.environ | (environ or {})
        return Running(command, self._out, dict(whole), self._template, waits)

    def run(self, *arguments: str) -> Ended:
        return self.start(*arguments).wait()


def delivers(bench: Bench) -> bool:
    """Return whether everything was delivered that the tenant holds."""
    truth = bench.sandbox.truth()
    return bool(truth["delivered"] == truth["expected"] > 0)


def port_of(running: Running) -> int:
    """Return the port of the metrics, from the log."""
    found = eventually(
        "the metrics", lambda: re.search(r'"metrics\.listening".*?127\.0\.0\.1:(\d+)', running.err)
    )
    return int(found[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and the body of a page of the endpoint."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def many_benches(path: Path, template: Template | None) -> Iterator[Many]:
    """Make a folder of settings files."""
    with ExitStack() as stack:
        many = Many(path, template, stack)
        many.write_defaults()
        yield many
