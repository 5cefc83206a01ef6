"""Draw the pictures of docs/images: `python -m tests.docs.pictures`, in about a minute.

Each picture shows the terminal that a real command leaves, against the sandbox. rich exports it.
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path

from rich.text import Text

from poller.cli.views.terminal import Terminal
from poller.sandbox.server import Sandbox
from tests.docs.pages import ROOT

IMAGES = ROOT / "docs/images"
COMMAND = Path(sys.executable).with_name("auth0-segment-poller")
SEED = 7
WIDTH = 96
_CONTROL = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|\x1b\][^\x07]*\x07")
_FULL_SCREEN = "?1049"
_STYLE = r"(?:\x1b\[[\d;]*m)*"
_LINK = ("/", r"\?", "token", "=", r"[\w-]+")
_PORT = re.compile(rf"127\.0\.0\.1:\d+(?:{_STYLE}{_STYLE.join(_LINK)})?")
"""The address of a service, and the token of the live page, coloured or not."""
_SETTINGS = """
[auth0]
domain = "{sandbox.tenant.domain}"
base_url = "{sandbox.auth0_url}"
client_id = "{sandbox.tenant.client_id}"
client_secret = "{sandbox.tenant.client_secret}"
[segment]
write_key = "{sandbox.write_key}"
endpoint = "{sandbox.segment_url}"
cdn_endpoint = "{sandbox.cdn_url}"
source_name = "web"
[poll]
interval = "1s"
[state]
url = "{folder}/ledger.db"
"""


class Screen:
    """The lines of a terminal: as much of one as rich's live displays need."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = 0
        self._top = 0

    def write(self, text: str) -> None:
        """Take what a command writes: text, colours, line ends, and moves of the cursor."""
        at = 0
        for match in _CONTROL.finditer(text):
            self._print(text[at : match.start()])
            at = match.end()
            self._control(match[0], match[1] or "", match[2] or "")
        self._print(text[at:])

    def text(self) -> str:
        """Return the lines as they stand, colours included."""
        return "\n".join(self._lines).rstrip("\n")

    def _control(self, whole: str, number: str, letter: str) -> None:
        match letter:
            case "m":
                self._lines[self._row] += whole
            case "A":
                self._row = max(self._row - int(number or 1), 0)
            case "K":
                self._lines[self._row] = ""
            case "h" if number == _FULL_SCREEN:
                self._top = len(self._lines)
                self._begin(at=self._top)
            case "H":  # the next frame of a full screen: only the last one stays
                self._begin(at=self._top)
            case "l" if number == _FULL_SCREEN:
                self._begin(at=len(self.text().split("\n")) + 1)

    def _begin(self, *, at: int) -> None:
        self._lines = [*self._lines[:at], *[""] * (at + 1 - len(self._lines[:at]))]
        self._row = at

    def _print(self, text: str) -> None:
        for part in re.split(r"(\r?\n|\r)", text):
            if part.endswith("\n"):
                self._row += 1
                if self._row == len(self._lines):
                    self._lines.append("")
            elif part == "\r":
                continue
            else:
                self._lines[self._row] += part


def shown(folder: Path, *arguments: str) -> str:
    """Return what a command leaves on a terminal."""
    ours, theirs = pty.openpty()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
        "LINES": "36",
        "PYTHONUTF8": "1",
        "COLORTERM": "truecolor",
    }
    with subprocess.Popen(
        [str(COMMAND), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        cwd=folder,
    ):
        os.close(theirs)
        read = b""
        with suppress(OSError):  # EIO: the command has ended
            while data := os.read(ours, 65536):
                read += data
        os.close(ours)
    screen = Screen()
    screen.write(read.decode())
    return _PORT.sub("127.0.0.1:8080", screen.text()).replace(
        str(folder), "/var/lib/auth0-segment-poller"
    )


def draw(folder: Path, *command: str) -> None:
    """Run a command in the folder, and write its picture."""
    output, name = shown(folder, *command), command[0]
    console = Terminal(
        record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text(f"$ auth0-segment-poller {' '.join(command)}", style="bold"))
    console.print(Text.from_ansi(output))
    svg = console.export_svg(title="auth0-segment-poller", unique_id=f"poller-{name}")
    IMAGES.mkdir(exist_ok=True)
    svg = re.sub(
        r"@font-face \{.*?\}", "", svg, flags=re.DOTALL
    )  # a page fetches nothing from afar
    lines = (line.rstrip() for line in svg.splitlines() if line.strip())
    (IMAGES / f"{name}.svg").write_text("\n".join(lines) + "\n")


@contextmanager
def daemon(folder: Path) -> Iterator[None]:
    """A daemon at work for the time of the context."""
    process = subprocess.Popen(
        [str(COMMAND), "run"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(4)
        yield
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Draw every picture."""
    with tempfile.TemporaryDirectory() as name, Sandbox(seed=SEED) as sandbox:
        folder = Path(name)
        settings = folder / "config.toml"
        settings.touch(0o600)
        settings.write_text(_SETTINGS.format(sandbox=sandbox, folder=folder))
        now = sandbox.clock.now()
        sandbox.traffic.grow(20_000, start=now - timedelta(days=4), end=now)
        draw(folder, "check")
        draw(folder, "preview", "--last", "1")
        with daemon(folder):
            draw(folder, "backfill", "--since", "3d", "--yes")
            draw(folder, "status")
            draw(folder, "verify", "--since", "4d")
        draw(folder, "demo", "--for", "20s")


if __name__ == "__main__":
    main()
