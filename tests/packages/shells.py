"""Shells that complete a line with the files of an installation."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from tests.process.bench import PATIENCE_S

NAME = "auth0-segment-poller"


def environ_of(prefix: Path) -> dict[str, str]:
    """Return the environment of a person who has the installation in PATH."""
    path = f"{prefix / 'bin'}:/usr/bin:/bin"
    return {"PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8", "HOME": str(prefix)}


def bash_offers(prefix: Path, *words: str) -> set[str]:
    """Return what bash offers for the last of the words."""
    line = " ".join([NAME, *words])
    script = f"""
        . {prefix}/share/bash-completion/completions/{NAME}
        COMP_WORDS=({NAME} {" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words)} COMP_LINE='{line}' COMP_POINT={len(line)}
        $(complete -p {NAME} | sed 's/.*-F \\([^ ]*\\) .*/\\1/') {NAME}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(_output(["bash", "--norc", "-c", script], prefix).split())


def fish_offers(prefix: Path, *words: str) -> set[str]:
    """Return what fish offers for the last of the words."""
    folder = prefix / "share/fish/vendor_completions.d"
    script = f"set -p fish_complete_path {folder}; complete -C '{' '.join([NAME, *words])}'"
    lines = _output(["fish", "--no-config", "-c", script], prefix).splitlines()
    return {line.split("\t")[0] for line in lines}


def zsh_completes(prefix: Path, typed: str, rest: str) -> None:
    """Type the beginning of a line in zsh and the tab key, and see that zsh adds the rest."""
    ours, theirs = pty.openpty()
    start = (
        f"PS1='> '; fpath=({prefix}/share/zsh/site-functions $fpath); "
        "autoload -U compinit; compinit -u -D; echo rea''dy\n"
    )
    with subprocess.Popen(
        ["/usr/bin/zsh", "-f", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ_of(prefix),
        start_new_session=True,
    ) as shell:
        os.close(theirs)
        os.write(ours, start.encode())
        _read_until(ours, "ready\r\n")
        os.write(ours, f"{typed}\t".encode())
        _read_until(ours, typed + rest)
        shell.kill()
    os.close(ours)


def _read_until(terminal: int, text: str) -> str:
    read, deadline = "", time.monotonic() + PATIENCE_S
    while text not in read and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            read += os.read(terminal, 65536).decode()
    assert text in read, read
    return read


def _output(command: list[str], prefix: Path) -> str:
    ended = subprocess.run(
        command, env=environ_of(prefix), capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    return ended.stdout
