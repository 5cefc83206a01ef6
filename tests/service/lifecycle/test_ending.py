"""The end of a process whose page is not settled in time."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import FatalError, TakenOverError, TransientError
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Failed, Finished, Process, Reason

TAKEN_OVER = TakenOverError("another process works on this", code="taken-over", hint="look")
FATAL = FatalError("it is refused", code="auth0-token-refused", hint="look")


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Finished(), ExitCode.DONE),
        (Failed(TAKEN_OVER), ExitCode.UNREACHABLE),
        (Failed(TransientError("it is away")), ExitCode.UNREACHABLE),
        (Failed(FATAL), ExitCode.CONFIG),
        (Failed(ValueError("ada@example.com")), ExitCode.BUG),
    ],
)
def test_an_abandoned_page_does_not_hide_that_the_work_failed(
    reason: Reason, code: ExitCode, logs: list[dict[str, object]]
) -> None:
    process, codes = Process(), list[int]()
    with process.working():
        finish(reason, process, interrupted=ExitCode.DONE, grace_s=0.0, end_at_once=codes.append)
    assert codes == [code]
    told = [line for line in logs if line["event"] == "run.failed"]
    assert len(told) == isinstance(reason, Failed)
    assert "ada" not in str(told)
    if code == ExitCode.CONFIG:
        assert (told[0]["code"], told[0]["hint"]) == (FATAL.code, FATAL.hint)


def test_a_settled_page_leaves_the_error_to_the_caller() -> None:
    with pytest.raises(TakenOverError):
        finish(Failed(TAKEN_OVER), Process(), interrupted=ExitCode.DONE)
