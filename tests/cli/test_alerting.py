"""The alerts of a daemon, from its settings to its end."""

from pathlib import Path
from typing import Any

import pytest

from poller.cli.wiring import alerts
from poller.cli.wiring.alerts import alerting
from poller.config import load_settings
from poller.core.errors import FatalError
from poller.service.alerts.groups import AlertGroups
from poller.service.observability.instrumented import NO_OBSERVER
from tests.service.alerts.bench import MemoryLedger, Receiver

ERROR = FatalError("it is missing", code="ca-certificates-unreadable", hint="look")


@pytest.mark.parametrize("is_alone", [True, False])
def test_only_a_pipeline_that_is_alone_says_that_it_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_alone: bool
) -> None:
    phone, ledger = Receiver(), MemoryLedger()
    monkeypatch.setattr(alerts, "targets_of", lambda _: (phone,))
    environ = {
        "POLLER_AUTH0__DOMAIN": "acme.eu.auth0.com",
        "POLLER_SEGMENT__SOURCE_NAME": "web",
        "HOME": str(tmp_path),
    }
    settings = load_settings(None, environ, secrets=False)
    groups = None if is_alone else AlertGroups("")
    stored: Any = ledger
    with pytest.raises(FatalError), alerting(settings, stored, NO_OBSERVER, groups=groups):
        raise ERROR
    is_told = "is not started again (acme" in str([phone.titles, ledger.state])
    assert is_told == is_alone
