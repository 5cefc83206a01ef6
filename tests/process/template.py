"""A template process, from which commands are forked.

Every start of the command costs most of a second of processor time for its imports. The template
makes the imports once, and reads the certificates. Each command that it forks is a process of its
own, with its own environment, folder and output. A command ends without freeing the objects of the
template: that copies the memory of the template, and takes longer than most commands do.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PROGRAM = """
import atexit, gc, importlib, io, json, os, pkgutil, signal, sys, threading, time
import _strptime, encodings.utf_8_sig, httpcore  # which others import when they need them
from datetime import timedelta
import poller
for module in pkgutil.walk_packages(poller.__path__, "poller."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if missing.name not in {"psycopg", "pgqueuer"}:  # the machine of the units has none
                raise
from poller.__main__ import main
from poller.adapters.environment import trust

def next_command():
    "Return a command in the process that is forked for it, and None when there are no more."
    for line in sys.stdin:
        request = json.loads(line)
        if "ended" in request:
            print(json.dumps(code_of(request["ended"])), flush=True)
            continue
        command = os.fork()
        if command == 0:
            if request["is_held"]:
                os.kill(os.getpid(), signal.SIGSTOP)
            return request
        print(command, flush=True)

def code_of(command):
    "Return the exit code of a command that has ended, and None before."
    ended, status = os.waitpid(command, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None

def stream_of(number, errors, *, line_buffering):
    "Return a stream as Python makes it at its start in the locale C.UTF-8."
    binary = open(number, "wb", closefd=False)
    encoding = os.environ.get("PYTHONIOENCODING")
    if encoding and number == 1:
        errors = "strict"
    return io.TextIOWrapper(
        binary, encoding=encoding or "utf-8", errors=errors, line_buffering=line_buffering
    )

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
    # The streams of the template remember whether its own files can be sought.
    sys.stdout = stream_of(1, "surrogateescape", line_buffering=os.isatty(1))
    sys.stderr = stream_of(2, "backslashreplace", line_buffering=True)
    sys.argv = command["arguments"]
    for name, value in command["constants"].items():
        replace(name, value)

def replace(name, value):
    "Give a constant another value. With a colon it is the default of a keyword argument."
    place, _, argument = name.partition(":")
    if argument:
        values = pkgutil.resolve_name(place).__kwdefaults__
    else:
        place, _, argument = name.rpartition(".")
        values = vars(sys.modules[place])
    is_time = isinstance(values[argument], timedelta)
    values[argument] = timedelta(seconds=value) if is_time else value

def leave(code):
    "End the process as Python does, but without freeing the objects that the template made."
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit(code)

trust()
gc.freeze()
if (command := next_command()) is not None:
    become(command)
    try:
        main()
    except SystemExit as ended:
        leave(ended.code)
"""


class Template:
    """The template process of an interpreter. Thread-safe."""

    def __init__(self, *interpreter: str) -> None:
        self._process = subprocess.Popen(
            [*(interpreter or (sys.executable,)), "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lock = threading.Lock()

    def start(
        self,
        arguments: list[str],
        *,
        environ: dict[str, str],
        folder: Path,
        out: Path,
        err: Path,
        constants: dict[str, Any] | None = None,
        is_held: bool = False,
    ) -> "Forked":
        """Start a command that writes its output and its log to these files.

        A command that is held does nothing before `go_on`.

        `constants` holds other values for constants of the program, by their whole names. The name
        `module.function:argument` is the default of a keyword argument. Times are in seconds.
        """
        pid = self._ask(
            arguments=arguments,
            environ=environ,
            folder=folder,
            out=out,
            err=err,
            constants=constants or {},
            is_held=is_held,
        )
        assert pid is not None
        return Forked(self, pid)

    def code_of(self, pid: int) -> int | None:
        """Return the exit code of a command, negative for a signal, or None while it runs."""
        return self._ask(ended=pid)

    def close(self) -> None:
        """End the template process."""
        self._process.communicate(timeout=300)

    def _ask(self, **request: object) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request, default=str).encode() + b"\n")
            self._process.stdin.flush()
            answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Forked:
    """A command that the template has forked. It has the methods of `Popen` that tests use."""

    def __init__(self, template: Template, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._template = template

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._template.code_of(self.pid)
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to the command, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def go_on(self) -> None:
        """Let a command begin that is held."""
        status = Path(f"/proc/{self.pid}/status")
        while "State:\tT" not in status.read_text():
            assert self.poll() is None, "the command has ended"
            time.sleep(0.005)
        os.kill(self.pid, signal.SIGCONT)
