"""The demo of a wrong write key. It shows the loss, and how `check` finds the cause."""

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from poller.cli.checks import Finding, mark_of
from poller.cli.segment_proof.published import prove_by_cdn
from poller.cli.segment_proof.workspace import prove_source
from poller.cli.wiring.daemon import build_drain, open_ledger
from poller.cli.wiring.demo import demo_settings
from poller.cli.wiring.services import connect
from poller.config import Settings
from poller.sandbox import Sandbox
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Process
from poller.service.upstream.retry import PATIENCE

_WRONG_KEY = "0" * 32
_EVENTS = 40


def play_wrong_key() -> Iterator[str]:
    """Forward events under a wrong key to a simulated Segment. Yield a line after each step."""
    with (
        tempfile.TemporaryDirectory(prefix="poller-demo-") as folder,
        Sandbox(seed=None) as sandbox,
    ):
        sandbox.begin_with(_EVENTS)
        sandbox.clock.advance(timedelta(minutes=1))
        wrong = demo_settings(
            sandbox, Path(folder), write_key=_WRONG_KEY, cdn_endpoint=sandbox.cdn_url
        )
        yield "The write key in the settings is wrong. The daemon forwards a first hour of events."
        _forward(wrong)
        counts = sandbox.collector.counts()
        yield (
            f"  Segment answered 200 to all {sum(counts.values())} calls, and kept "
            f"{counts.get('published', 0)} of them. No error says so."
        )
        yield "`check`, without a token, asks Segment's CDN for the settings of the key:"
        yield from _shown(list(prove_by_cdn(wrong)))
        yield "`check`, with a token of Segment's Public API, compares the key with the source's:"
        sandbox.workspace.roles.add("Source Admin")
        token = {
            "api_token": sandbox.workspace.api_token,
            "api_endpoint": sandbox.api_url,
            "cdn_endpoint": sandbox.cdn_url,
        }
        yield from _proof(demo_settings(sandbox, Path(folder), write_key=_WRONG_KEY, **token))
        yield "With the right key, both agree before the first event:"
        yield from _proof(demo_settings(sandbox, Path(folder), **token))


def _forward(settings: Settings) -> None:
    process = Process()
    with open_ledger(settings, process) as ledger, connect(settings, process.stopping) as services:
        drain(build_drain(settings, services, ledger, process).pages, PATIENCE)


def _proof(settings: Settings) -> Iterator[str]:
    with connect(settings, Process().stopping) as services:
        yield from _shown(list(prove_source(settings, services, is_log_readable=False)))


def _shown(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.subject == "key":
            yield f"  {mark_of(finding)[0]} {finding.text}"
            if finding.hint:
                yield f"    {finding.hint}"
