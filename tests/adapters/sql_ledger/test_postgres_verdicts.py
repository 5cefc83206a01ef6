"""The verdicts on the errors of PostgreSQL, and on the URL. They need no server."""

import sys
import traceback

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from poller.adapters.sql_ledger import errors
from poller.adapters.sql_ledger.errors import LedgerLockedError
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.verdicts import verdicts
from poller.core.errors import ConflictError, FatalError, PollerError, TransientError

PLACE = "postgresql://db.example/ledger"


def verdict_on(error: Exception) -> PollerError:
    with pytest.raises(PollerError) as raised, verdicts(PLACE):
        raise error
    return raised.value


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("08006", "the connection was lost"),
        ("25006", "is read-only"),
        ("25P03", "the server ended the connection"),
        ("40001", errors.CHANGED),
        ("40P01", errors.CHANGED),
        ("53100", errors.DISK_FULL),
        ("53200", errors.OUT_OF_MEMORY),
        ("53300", "too many connections"),
        ("55P03", errors.LOCKED),
        ("57014", errors.INTERRUPTED),
        ("57P01", "the server ended the connection"),
        ("57P03", "is starting or stopping"),
        ("58030", errors.INPUT_OUTPUT),
        ("XX000", "failed within the server"),
    ],
)
def test_a_passing_failure_is_told_by_its_code_in_the_words_of_sqlite(
    code: str, words: str
) -> None:
    for error in (psycopg.errors.lookup(code)("Key (user_id)=(auth0|ada)"),):
        for raised in (error, OperationalError("INSERT", {"user": "auth0|ada"}, error)):
            verdict = verdict_on(raised)
            is_locked = code == "55P03"
            assert type(verdict) is (LedgerLockedError if is_locked else TransientError)
            assert words in str(verdict)
            assert ("the disk of the server" in verdict.hint) == (code == "53100")
            assert str(verdict).startswith(f"ledger {PLACE} ")
            assert code in str(verdict)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("28P01", "ledger-access-refused"),
        ("28000", "ledger-access-refused"),
        ("3D000", "ledger-access-refused"),
        ("3F000", "ledger-access-refused"),
        ("42501", "ledger-access-refused"),
        ("42P01", "ledger-damaged"),
        ("XX001", "ledger-damaged"),
    ],
)
def test_a_failure_that_a_person_has_to_mend_is_fatal(code: str, kind: str) -> None:
    verdict = verdict_on(psycopg.errors.lookup(code)("x"))
    assert isinstance(verdict, FatalError)
    assert verdict.code == kind


def test_no_verdict_leads_to_a_row_or_a_key() -> None:
    error = psycopg.errors.UniqueViolation("Key (user_id)=(auth0|ada) already exists.")
    verdict = verdict_on(OperationalError("INSERT", {}, error, hide_parameters=True))
    assert isinstance(verdict, ConflictError)
    assert "already exists" not in "".join(traceback.format_exception(verdict))


def test_a_lost_connection_is_told_in_one_line_of_libpq() -> None:
    verdict = verdict_on(psycopg.OperationalError("server closed the connection\n\tThis means"))
    assert str(verdict) == f"ledger {PLACE} cannot be reached: server closed the connection"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u@db.example/ledger?password=s3cr3t#/x", "db.example/ledger"),
        ("postgresql+psycopg://u@db.example:6432/l?password=s3cr3t#/x", "db.example:6432/l"),
        ("postgresql+psycopg://u@/l?host=/run/postgresql&password=s3cr3t#/x", "/l"),
        ("postgresql+psycopg://u@a,b:6/l?password=s3cr3t#/x", "a,b:6/l"),
    ],
)
def test_a_place_is_shown_without_its_user_and_password(url: str, shown: str) -> None:
    address = Address.of(url)
    assert address.shown == f"postgresql://{shown}"
    assert "s3cr3t" not in repr(address)
    assert "s3cr3t" in address.conninfo


def test_with_several_servers_the_one_that_can_write_is_used() -> None:
    assert "target_session_attrs=read-write" in Address.of("postgresql+psycopg://a,b/l").conninfo
    assert "target_session_attrs" not in Address.of("postgresql+psycopg://a/l").conninfo
    asked = Address.of("postgresql+psycopg://a,b/l?target_session_attrs=any").conninfo
    assert "target_session_attrs=any" in asked


def test_a_url_that_libpq_cannot_read_is_told_without_the_url() -> None:
    url = "postgresql+psycopg://u@host/l?secretly=" + "secret"[::-1]
    with pytest.raises(FatalError) as raised:
        place_of(url)
    assert raised.value.code == "ledger-url-invalid"
    assert "secret"[::-1] not in "".join(traceback.format_exception(raised.value))


def test_a_missing_driver_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [each for each in sys.modules if each.startswith("poller.") and "postgres" in each]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(FatalError) as raised:
        place_of("postgresql+psycopg://host/l")
    assert raised.value.code == "ledger-driver-missing"
    assert "pip install 'auth0-segment-poller[postgres]'" in raised.value.hint
