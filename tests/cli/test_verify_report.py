"""The text of `verify` on terminals of different widths."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from poller.cli.views.verify_report import show
from poller.service.verify.daily import Compared, Day, Verdict
from poller.service.verify.received import SourceComparison, SourceRow, SourceVerdict
from poller.service.verify.report import SourceReport, VerifyReport
from tests.fakes import STREAM

HOUR = datetime(2026, 1, 30, 8, tzinfo=UTC)


def day(number: int) -> Day:
    return Day(
        day=date(2026, 1, number),
        verdict=Verdict.PARTLY_SETTLED,
        logins=Compared(least=1_234_567, most=1_234_567, auth0=1_234_567),
        signups=Compared(least=12_345, most=12_345, auth0=12_345),
        dead_letters=17,
        sent={"Logged In": 1_234_567},
    )


def report(
    *, verdict: SourceVerdict = SourceVerdict.AGREES, failed: Mapping[str, int] | None = None
) -> VerifyReport:
    row = SourceRow(
        hour=HOUR,
        kind="track",
        event="Logged In",
        verdict=verdict,
        acknowledged=1_246_912,
        apart={},
        received=1_246_912,
        failed=failed or {},
        filtered={},
    )
    comparison = SourceComparison(
        rows=(row,), known_since=HOUR, final_until=HOUR + timedelta(hours=1), names_of_others=()
    )
    return VerifyReport(
        ledger="/var/lib/ledger.db",
        stream=STREAM,
        now=HOUR,
        settled=(),
        days=(day(30), day(31)),
        recount=None,
        source=SourceReport(comparison=comparison, has_reasons=True, suppressed_users=None),
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_each_number_and_verdict_is_whole_on_a_terminal_of_usual_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show(report())
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    numbers = {"1,234,567", "12,345", "17", "1,246,912", "partly", "settled", "acknowledged"}
    assert numbers <= set(shown.split())
    rows = [line for line in shown.splitlines() if "2026-01-30" in line]
    assert len(rows) == (1 if columns == 120 else 2)


def test_a_comparison_that_judges_no_hour_does_not_say_that_all_was_received(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    show(report(verdict=SourceVerdict.NOT_FINAL))
    shown = capsys.readouterr().out
    assert "No hour can be compared with Segment yet." in shown
    assert "received all" not in shown


def test_drops_beside_a_surplus_are_told_though_they_are_no_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    show(report(verdict=SourceVerdict.MORE, failed={"source_disabled": 50}))
    assert "also dropped messages of these names (50 source_disabled)" in capsys.readouterr().out
    show(report(verdict=SourceVerdict.MORE))
    assert "also dropped" not in capsys.readouterr().out
