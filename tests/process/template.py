"""A template process, from which commands are forked.

Every start of the command costs most of a second of processor time for its imports. The template
makes the imports once. Each command that it forks is a process of its own, with its own
environment, folder and output.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import gc, importlib, json, os, pkgutil, sys, time
import poller
for module in pkgutil.walk_packages(poller.__path__, "poller."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from poller.__main__ import main

def next_command():
    "Return a command in the process that is forked for it, and None when there are no more."
    for line in sys.stdin:
        command = os.fork()
        if command == 0:
            return json.loads(line)
        print(command, flush=True)
        _, status = os.waitpid(command, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)

def become(command):
    "Take the surroundings of the command."
    os.environ.clear()
    os.environ.update(command["environ"])
    time.tzset()
    os.chdir(command["folder"])
    for number, path in enumerate((os.devnull, command["out"], command["err"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = command["arguments"]

gc.freeze()
if (command := next_command()) is not None:
    become(command)
    main()
"""


class Template:
    """The template process. It runs one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._answers = b""

    def run(self, arguments: list[str], *, timeout_s: float, **surroundings: Any) -> int:
        """Run a command to its end and return its exit code, negative for a signal.

        The surroundings are `environ`, `folder`, and the files `out` and `err`.
        """
        assert self._process.stdin is not None
        command = json.dumps({"arguments": arguments, **surroundings}, default=str)
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        pid = self._answer(timeout_s)
        try:
            return self._answer(timeout_s)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._answer(timeout_s)
            told = Path(surroundings["err"]).read_text()
            raise AssertionError(f"still running after {timeout_s} s:\n{told}") from None

    def _answer(self, timeout_s: float) -> int:
        """Return the number on the next line of the template."""
        assert self._process.stdout is not None
        while b"\n" not in self._answers:
            if not select.select([self._process.stdout], [], [], timeout_s)[0]:
                raise TimeoutError
            read = os.read(self._process.stdout.fileno(), 4096)
            assert read, "the template process has ended"
            self._answers += read
        line, _, self._answers = self._answers.partition(b"\n")
        return int(line)

    def close(self) -> None:
        """End the template process."""
        self._process.communicate(timeout=30)
