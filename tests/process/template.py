"""A template process, from which commands are forked.

Every start of the command costs most of a second of processor time for its imports. The template
makes the imports once. Each command that it forks is a process of its own, with its own
environment, folder and output.
"""

import json
import signal
import subprocess
import sys
from typing import Any

PROGRAM = """
import gc, importlib, json, os, pkgutil, signal, sys, time
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
    signal.alarm(int(command["timeout_s"]))

gc.freeze()
if (command := next_command()) is not None:
    become(command)
    main()
"""


class Template:
    """The template process of an interpreter. It runs one command at a time."""

    def __init__(self, *interpreter: str) -> None:
        self._process = subprocess.Popen(
            [*(interpreter or (sys.executable,)), "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, arguments: list[str], *, timeout_s: float, **surroundings: Any) -> int:
        """Run a command to its end and return its exit code, negative for a signal.

        The surroundings are `environ`, `folder`, and the files `out` and `err`.
        """
        assert self._process.stdin is not None
        given = {"arguments": arguments, "timeout_s": timeout_s, **surroundings}
        command = json.dumps(given, default=str)
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        code = int(self._process.stdout.readline())
        assert code != -signal.SIGALRM, f"{arguments} still ran after {timeout_s} s"
        return code

    def close(self) -> None:
        """End the template process."""
        self._process.communicate(timeout=30)
