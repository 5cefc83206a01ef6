"""Write the manual page from the declarations in the code: `python -m tests.docs.reference`."""

import re
from collections.abc import Iterator

import click

from poller.cli import program
from poller.cli.groups import NAME
from poller.service.lifecycle.exit_codes import ExitCode
from tests.docs.reference import ENVIRONMENT, EXIT_CODES, option_help
from tests.paths import ROOT

FILE = ROOT / f"packaging/share/man/man1/{NAME}.1"
DOCUMENTATION = f"https://github.com/{NAME}/{NAME}/tree/main/docs"
FILES = {
    f"/etc/{NAME}/config.toml": "The settings, unless --config or $POLLER_CONFIG names a file.",
    f"/etc/{NAME}/config.credentials/": "A file for each secret of these settings.",
    f"/var/lib/{NAME}/config/ledger.db": "The ledger of the service.",
}
_BOLD = re.compile(r"(?<![\w/-])(--[a-z][a-z-]*|\$?[A-Z]+_[A-Z_]+)")
"""Options and variables."""


def escaped(text: str) -> str:
    """Return text as roff shows it: hyphens to copy, and no requests."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    plain = re.sub(r"^(?=[.'])", r"\\&", plain, flags=re.MULTILINE)
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in plain)


def sentence(text: str) -> str:
    """Return a help text on one line, with options and variables in bold."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(text.split())).replace("`", "")
    parts = _BOLD.split(words)
    bold = [f"\\fB{escaped(part)}\\fR" for part in parts[1::2]]
    return "".join(
        each for pair in zip(map(escaped, parts[::2]), [*bold, ""], strict=True) for each in pair
    )


def paragraphs(text: str | None) -> Iterator[str]:
    """Yield the lines of a help text, one for each paragraph."""
    found = re.split(r"\n\s*\n", (text or "").strip())
    yield from "\n.PP\n".join(map(sentence, found)).splitlines()


def tagged(tag: str, text: str) -> tuple[str, str, str]:
    """Return the lines of an indented paragraph that begins with its name."""
    return ".TP", f"\\fB{escaped(tag)}\\fR", sentence(text)


def examples(command: click.Command) -> Iterator[str]:
    """Yield the lines of a command's examples."""
    lines = re.findall(rf"^ *({NAME} .*)$", command.epilog or "", re.MULTILINE)
    if lines:
        yield from (".PP", ".nf", ".RS", *map(escaped, lines), ".RE", ".fi")


def command_lines(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """Yield the lines of one command, and those of its subcommands."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f".SS {escaped(context.command_path.removeprefix(f'{NAME} '))}"
    yield from (".nf", f"\\fB{escaped(' '.join(usage.split()))}\\fR", ".fi", ".PP")
    yield from paragraphs(command.help)
    for option in command.params:
        if isinstance(option, click.Option):
            kind = option.make_metavar(context)
            names = ", ".join([*option.opts[:-1], f"{option.opts[-1]} {kind}"])
            shown = ", ".join(option.opts) if option.is_flag else names
            yield from tagged(shown, option_help(option, context))
    yield from examples(command)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            assert child is not None
            yield from command_lines(child, sub, context)


def lines_of_page() -> Iterator[str]:
    """Yield the lines of the page. It names no version, so that only the package has one."""
    yield '.\\" Written by `python -m tests.docs.reference`. Change the code, and run it again.'
    yield f'.TH {NAME.upper()} 1 "" "{NAME}" "User Commands"'
    yield ".ad l"
    yield from (".SH NAME", f"{NAME} \\- forward logins and signups from Auth0 to Segment")
    yield from (".SH SYNOPSIS", f"\\fB{escaped(NAME)}\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...")
    yield from (".SH DESCRIPTION", *paragraphs((program.help or "").split("Exit codes:")[0]))
    yield ".SH COMMANDS"
    context = click.Context(program, info_name=NAME)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        yield from command_lines(command, name, context)
    yield ".SH EXIT STATUS"
    for code in ExitCode:
        yield from tagged(f"{code}", " ".join(EXIT_CODES[code]))
    yield ".SH ENVIRONMENT"
    for name, text in ENVIRONMENT.items():
        yield from tagged(name, text)
    yield ".SH FILES"
    for name, text in FILES.items():
        yield from tagged(name, text)
    yield from (".SH SEE ALSO", sentence(DOCUMENTATION))


def text_of_page() -> str:
    """Return the text of the page, as the code is now."""
    return "\n".join(lines_of_page()) + "\n"
