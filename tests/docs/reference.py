"""Write docs/reference from the declarations in the code: `python -m tests.docs.reference`.

The command writes the manual page, too.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import click

from poller.cli import program
from poller.cli.groups import NAME
from poller.config import SETTINGS
from poller.config.catalogue import Setting
from poller.config.sources.routes import KEYS
from poller.core.errors import ErrorCode
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.observability.metrics import METRICS, Metric
from tests.docs.pages import page
from tests.paths import ROOT, TESTS

FOLDER = ROOT / "docs/reference"
GENERATED = (
    "<!-- Written by `python -m tests.docs.reference`. Change the code, and run it again. -->"
)
SCHEMAS = TESTS / "schemas"
_CODE = re.compile(
    r"(?<![\w`/-])(--[a-z][a-z-]*|\$[A-Z_]+|POLLER_<\w+>__<\w+>|[./]\S*config\.toml)(?!`)"
)
"""Options, variables and files in a help text."""

EXIT_CODES = {
    ExitCode.DONE: ("Done.", "Also a daemon or a demo that was told to stop."),
    ExitCode.BUG: ("A bug of the program.", "Report the lines that the program prints."),
    ExitCode.USAGE: ("The command line is wrong.", "The message names what is wrong."),
    ExitCode.ATTENTION: (
        "Done, and somebody should look.",
        """`status`: a gap, a blocked daemon, or a daemon that a fatal error ended. With
        `--strict` dead letters too. `backfill`: slices, identify calls, bad records or
        lost stretches are left. `verify`, `preview --expect`: something differs. `check`: a
        warning.
        `dead-letters replay`: a letter is still dead. `alerts test`: an alert did not
        arrive. `demo`: something was lost. `trace`: nothing was found.""",
    ),
    ExitCode.UNAVAILABLE: (
        "No daemon runs.",
        "`status --strict`, and `tail`, also when the daemon ends.",
    ),
    ExitCode.UNREACHABLE: (
        "Later.",
        """A service could not be reached: a one-shot command tries for about 20 seconds, a
        backfill for ten minutes. Or the disk of the ledger is full, or another process holds the
        ledger, or the output cannot be written.""",
    ),
    ExitCode.CONFIG: (
        "Someone must act.",
        """Settings, credentials, or an unusable ledger. The message has one of the [error
        codes](errors.md).""",
    ),
    ExitCode.INTERRUPTED: ("Interrupted.", "A one-shot command that a signal ended."),
}
FIELDS = {
    "after": "The log id above which it begins.",
    "at": "The time.",
    "auth0": "What Auth0 counted or has.",
    "pending_identifies": "Users who wait for their identify call.",
    "bad_records": "Records that cannot be read.",
    "band": "The difference that still counts as agreement.",
    "before": "The first log id above it.",
    "call": "The call.",
    "calls": "The calls, as Segment gets them.",
    "code": "The error code.",
    "context": "The context of the call.",
    "daemon": "The process that runs, or null.",
    "day": "The day, in UTC.",
    "days": "One object for each day.",
    "dead_lettered": "Events that became dead letters.",
    "dead_lettered_at": "When it became a dead letter.",
    "dead_letters": "Dead letters.",
    "differences": "Hours and types that differ.",
    "differs": "Whether anything differs.",
    "discarded": "Dead letters that were discarded on request.",
    "domain": "The tenant.",
    "effect": "What the plan would do.",
    "error": "What is wrong.",
    "events": "Events.",
    "exact": "The comparison with the log, or null without `--exact`.",
    "excess": "Events that Auth0 has above what was settled. Negative for fewer.",
    "explanation": "The verdict in words.",
    "field": "The field.",
    "file": "The file.",
    "files": "The files.",
    "filtered": "Events that are left out.",
    "final_at": "When Auth0 has counted all of the day.",
    "first": "The time of its first event.",
    "forwarded": "Events that Segment acknowledged.",
    "generation": "The generation, mostly empty.",
    "gzip": "Whether it is compressed.",
    "hint": "What to do, or null.",
    "hour": "The hour.",
    "hours": "How many hours.",
    "hours_agreeing": "Hours that agree to the event.",
    "hours_judged": "Hours that were compared.",
    "kind": "Its form.",
    "last": "The time of its last event.",
    "ledger": "Where the ledger is.",
    "line": "How far it was read, in lines.",
    "log_id": "The id of the event.",
    "logged": "What the log has.",
    "logins": "Logins.",
    "messageId": "The message id.",
    "message_id": "The message id.",
    "not_kept": "Hours that Auth0 no longer keeps.",
    "not_settled": "Hours that the ledger does not hold whole.",
    "of_interest": "Logins and signups.",
    "offset": "How far it was read, in bytes.",
    "outside": "Events outside of `--since` and `--until`.",
    "percent": "In percent.",
    "pid": "The number of the process.",
    "plan": "What the tracking plan would do.",
    "problem": "What is wrong with it, or null.",
    "reached": "The log id up to which it is settled.",
    "read": "Events that were read.",
    "reason": "Why.",
    "redated": "Events that were sent with the time in their log id.",
    "repeated": "Events that stand in the files twice.",
    "requests": "Requests to Auth0.",
    "seconds": "How long it takes.",
    "sent": "Tracks that were sent, by name.",
    "settled": "What the ledger has.",
    "settled_at_most": "The most that the settled events can explain.",
    "settled_from": "The oldest time that is settled.",
    "signups": "Signups.",
    "since": "The time at which it began.",
    "size": "Its size in bytes.",
    "skipped": "Events that a settled span holds.",
    "source_name": "The name of the Segment source.",
    "spans": "The spans, oldest first.",
    "status": "The status of Segment's refusal, or null.",
    "text": "The same in words.",
    "texts": "Pieces of text that are no JSON object.",
    "timestamp": "The time of the event.",
    "type": "The type of the event, or the kind of the call.",
    "until": "Where it ends.",
    "userId": "The user id.",
    "verdict": "The verdict.",
}
"""The meaning of fields that mean the same wherever they stand. A schema may say more."""
ENVIRONMENT = {
    "POLLER_CONFIG": "The settings file, if `--config` is not given.",
    "CREDENTIALS_DIRECTORY": "The folder with a file for each secret. systemd sets it for a unit.",
    "STATE_DIRECTORY": "The place of the ledger without `state.url`. systemd sets it for a unit.",
    "XDG_STATE_HOME": "The same for a person's own settings. Otherwise `~/.local/state`.",
    "HTTPS_PROXY": "A proxy, as `http://host:port`. `HTTP_PROXY` and `ALL_PROXY` work too.",
    "NO_PROXY": "Hosts, domains, addresses and ranges that need no proxy.",
    "SSL_CERT_FILE": "CA certificates to trust, as a file.",
    "SSL_CERT_DIR": "The same as a folder.",
    "REQUESTS_CA_BUNDLE": "The same as a file, if `SSL_CERT_FILE` is not set.",
    "CURL_CA_BUNDLE": "The same, if neither is set.",
    "JOURNAL_STREAM": "Set by systemd. Log lines then have the form of the journal.",
    "NOTIFY_SOCKET": "Set by systemd for a unit of type notify: the service says when it is ready.",
    "WATCHDOG_USEC": "Set by systemd: how often the service must say that its loop turns.",
}


def table(*rows: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table. The first row is its head."""
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in body:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def sentence(text: str) -> str:
    """Return a help text as Markdown: options and settings in it as code."""
    return _CODE.sub(r"`\1`", " ".join(text.split()))


def plain(text: str) -> str:
    """Return text that is wrapped in the code as one line."""
    return " ".join(text.split())


def commands() -> Iterator[str]:
    """Yield the page of the commands, from click's declarations."""
    yield "# Commands"
    yield ""
    yield from paragraphs(program)
    yield "The tab key can [complete](../guides/install.md#completion-in-the-shell) all of this."
    yield ""
    context = click.Context(program, info_name=NAME)
    named = [(name, program.get_command(context, name)) for name in program.list_commands(context)]
    found = [(name, command) for name, command in named if command is not None]
    yield from table(
        ("command", "what it does"),
        *(
            (f"[`{name}`](#{name})", sentence(command.get_short_help_str(200)))
            for name, command in found
        ),
    )
    for name, command in found:
        yield from command_section(command, name, parent=context, level=2)


def command_section(
    command: click.Command, name: str, *, parent: click.Context, level: int
) -> Iterator[str]:
    """Yield the section of one command, and those of its subcommands."""
    context = click.Context(command, info_name=name, parent=parent)
    path = context.command_path.removeprefix(f"{NAME} ")
    yield ""
    yield f"{'#' * level} {path}"
    yield ""
    yield "```text"
    yield command.get_usage(context).removeprefix("Usage: ")
    yield "```"
    yield ""
    yield from paragraphs(command)
    options = [
        (", ".join(f"`{name}`" for name in option.opts), option_help(option, context))
        for option in command.params
        if isinstance(option, click.Option)
    ]
    if options:
        yield from table(("option", "what it does"), *options)
    lines = re.findall(rf"^ *({NAME} .*)$", command.epilog or "", re.MULTILINE)
    if lines:
        yield from ("", "```sh", *lines, "```")
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            if child is not None:
                yield from command_section(child, sub, parent=context, level=min(level + 1, 4))


def paragraphs(command: click.Command) -> Iterator[str]:
    """Yield the paragraphs of a command's help."""
    for paragraph in re.split(r"\n\s*\n", (command.help or "").strip()):
        yield sentence(paragraph)
        yield ""


def option_help(option: click.Option, context: click.Context) -> str:
    """Return the help of one option, with its default where it shows one."""
    extra = option.get_help_extra(context)
    default = f" Default: `{extra['default']}`." if extra.get("default") else ""
    lowest, _, highest = (extra.get("range") or "").partition("<=x<=")
    allowed = f" From {lowest} to {highest}." if highest else ""
    return f"{sentence(option.help or '')}{default}{allowed}"


def settings() -> Iterator[str]:
    """Yield the page of the settings, from the catalogue."""
    yield "# Settings"
    yield ""
    yield plain(
        """`config.example.toml` holds every setting with its default. Each setting is also a
        variable of the [environment](environment.md). A secret can also be a file: one that its
        `…_file` key names, or one in the folder of credentials."""
    )
    for section in dict.fromkeys(setting.section for setting in SETTINGS):
        yield from ("", f"## {section}", "")
        yield from table(
            ("setting", "type", "default", "what it is"),
            *(setting_row(setting) for setting in SETTINGS if setting.section == section),
        )
    yield from ("", "## routes", "")
    yield plain(
        """Each `[[routes]]` table is a route to a Segment source. [One tenant to several
        sources](../guides/many-pipelines.md#one-tenant-to-several-sources) explains it. A route may
        have every key of `[segment]` for itself, and must have `write_key`. The variable of a key
        is `POLLER_ROUTES__<NAME>__<KEY>`, and the credential of a secret is
        `<name>.segment_<key>`."""
    )
    yield ""
    rows = ((f"`routes.{key}`", *described) for key, described in KEYS.items())
    yield from table(("setting", "type", "default", "what it is"), *rows)


def setting_row(setting: Setting) -> tuple[str, str, str, str]:
    """Return the row of one setting."""
    default = f"`{setting.default}`" if setting.is_default_fixed else setting.default
    secret = f" A secret: also the credential `{setting.credential}`." if setting.is_secret else ""
    return f"`{setting.name}`", setting.type, default, sentence(setting.help) + secret


def metrics() -> Iterator[str]:
    """Yield the page of the metrics, from their declarations."""
    yield "# Metrics"
    yield ""
    yield plain(
        """[Monitoring](../guides/monitoring.md) says how to scrape them. Counters begin at zero
        with the process. The metrics of events all come from one moment, so that at every
        scrape read = forwarded + filtered + dead-lettered + in hand. No label names a person or
        a log event. The first hundred event types of the tenant have a label of their own, and
        all others are `other`. Lag and ages go by the tenant's clock. The library's own
        `process_…` metrics are there too."""
    )
    yield ""
    yield from table(
        ("metric", "type", "labels", "meaning"), *(metric_row(metric) for metric in METRICS)
    )


def metric_row(metric: Metric) -> tuple[str, str, str, str]:
    """Return the row of one metric."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"`{metric.name}`", metric.kind, labels, sentence(metric.help)


def json_output() -> Iterator[str]:
    """Yield the page of the JSON output, from the schemas that tests hold the commands to."""
    yield "# JSON output"
    yield ""
    yield plain(
        """With `--json` a command prints one JSON text. `backfill` prints a line for its plan and
        a line for its summary. Within a major version fields are added, and never renamed,
        removed, or given another meaning. Times are UTC, as `2026-01-31T08:00:00.000Z`.
        Durations are seconds. Positions are log ids. A value that is not known is null."""
    )
    schemas = json.loads((SCHEMAS / "commands.json").read_text())["$defs"]
    verify = json.loads((SCHEMAS / "verify.json").read_text())
    sections = {
        "status": schemas["status"],
        "check": schemas["check"],
        "status and check: a folder of settings files": schemas["pipelines"],
        "preview": schemas["preview"],
        "tail: a line for each event": schemas["tail"],
        "trace": schemas["trace"],
        "dead-letters list": schemas["dead_letters"],
        "dead-letters show": schemas["dead_letter"],
        "ledger show": schemas["ledger"],
        "backfill: the plan": schemas["backfill_plan"],
        "backfill: the summary": schemas["backfill_summary"],
        "backfill --from-file: the plan": schemas["file_plan"],
        "backfill --from-file: a line for each file": schemas["file"],
        "backfill --from-file: the sum": schemas["file_total"],
        "verify": verify,
        "alerts test": schemas["alerts_test"],
    }
    for title, schema in sections.items():
        yield from ("", f"## {title}", "")
        is_list = schema.get("type") == "array"
        yield from ("A list of objects:", "") if is_list else ()
        rows = fields(schema["items"] if is_list else schema, schemas | verify.get("$defs", {}))
        yield from table(("field", "type", "meaning"), *rows)


def fields(
    schema: dict[str, Any], defs: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each field of an object, and for each field inside of it."""
    schema = resolved(schema, defs)
    for option in schema.get("anyOf", []):
        yield from fields(option, defs, path)
    if schema.get("type") == "array":
        yield from fields(schema["items"], defs, f"{path}[]")
    for name, found in schema.get("properties", {}).items():
        inner = f"{path}.{name}".lstrip(".")
        yield f"`{inner}`", kind_of(found, defs), found.get("description") or FIELDS.get(name, "")
        yield from fields(found, defs, inner)


def resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference leads to."""
    found: dict[str, Any] = defs[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    return found


def kind_of(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """Return the type of a field in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(each, defs) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    found = resolved(schema, defs)
    if schema.get("$ref", "").endswith("/moment"):
        return "time"
    if found.get("type") == "array":
        return f"list of {kind_of(found['items'], defs)}"
    kinds = found.get("type", "any")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds)


def exit_codes() -> Iterator[str]:
    """Yield the page of the exit codes."""
    yield from ("# Exit codes", "")
    yield "[The runbook](../runbook.md#first-look) says what to do."
    yield ""
    yield from table(
        ("code", "meaning", "when"),
        *((f"{code}", *map(plain, EXIT_CODES[code])) for code in ExitCode),
    )


def errors() -> Iterator[str]:
    """Yield the page of the error codes. Each links to its section of the runbook."""
    symptoms = dict(
        re.findall(r"^### (\S+)\n\*\*Symptom\.\*\* (.+)$", page("runbook.md"), re.MULTILINE)
    )
    yield from ("# Error codes", "")
    yield plain(
        """A fatal error is printed as `error[CODE]: CAUSE`, and the next line says what to do. The
        exit code is 78, and 75 for `taken-over`. A code is never renamed, and never used again for
        another error. Each code links to its section of the runbook."""
    )
    yield ""
    yield from table(
        ("code", "what is wrong"),
        *((f"[`{code}`](../runbook.md#{code})", symptoms[code]) for code in get_args(ErrorCode)),
    )


def environment() -> Iterator[str]:
    """Yield the page of the variables of the environment."""
    yield from ("# Environment", "")
    yield plain(
        """Each setting can be given as a variable, as the second table shows. A variable wins over
        a credential, and a credential wins over the settings file. Certificates are always
        verified. Plain http is for loopback only."""
    )
    yield ""
    yield from table(
        ("variable", "what it is"), *((f"`{name}`", text) for name, text in ENVIRONMENT.items())
    )
    yield ""
    yield from table(
        ("variable", "setting"),
        *((f"`{setting.variable}`", f"`{setting.name}`") for setting in SETTINGS),
    )


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "commands.md": commands,
    "settings.md": settings,
    "metrics.md": metrics,
    "json-output.md": json_output,
    "exit-codes.md": exit_codes,
    "errors.md": errors,
    "environment.md": environment,
}


def text_of(name: str) -> str:
    """Return the text of one page of the reference, as the code is now."""
    title, *rest = PAGES[name]()
    return "\n".join([title, "", GENERATED, *rest]) + "\n"


if __name__ == "__main__":
    for each in PAGES:
        (FOLDER / each).write_text(text_of(each))
    from tests.docs import man_page  # it imports this module

    man_page.FILE.write_text(man_page.text_of_page())
