"""Verdicts on the errors of PostgreSQL, by the class of their SQLSTATE.

An error is transient if a later attempt can succeed, and fatal if a person has to act. No message
holds what PostgreSQL says of a row or a key, since that is personal data.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from poller.adapters.sql_ledger import errors
from poller.adapters.sql_ledger.errors import LedgerFatalError, LedgerLockedError
from poller.core.errors import ConflictError, PollerError, TransientError

_LOCK_NOT_AVAILABLE = "55P03"
_DISK_FULL = "53100"
_ENDED = "cannot be reached: the server ended the connection, or is starting or stopping"
_TRANSIENT = {
    "08": "cannot be reached: the connection was lost",
    "25006": "is read-only: the server is a standby, or was set so",
    "25P03": _ENDED,
    "40": errors.CHANGED,
    "53": "cannot be used: the server is short of something",
    _DISK_FULL: errors.DISK_FULL,
    "53200": errors.OUT_OF_MEMORY,
    "53300": "cannot be reached: the server has too many connections",
    _LOCK_NOT_AVAILABLE: errors.LOCKED,
    "57": _ENDED,
    "57014": errors.INTERRUPTED,
    "58": errors.INPUT_OUTPUT,
    "XX": "failed within the server",
}
"""The words for a SQLSTATE, or for its class of two characters. The SQLSTATE goes first."""
_REFUSED = {
    "28": "refuses the user or the password",
    "3D": "does not exist",
    "3F": "has no schema for this user",
    "42501": "gives this user too few rights",
}
_ACCESS = (
    "check the user, the database and the host in state.url, state.password, and pg_hba.conf of "
    "the server. The user needs CONNECT, and CREATE on the schema"
)
_DAMAGED = {"XX001": "is damaged", "XX002": "is damaged"}
_RESTORE = (
    "stop the program, and let the administrator of the database repair it or restore the last "
    "backup: what was settled after the backup is sent again, under the same message ids"
)
_ROOM = "nothing is lost: make room on the disk of the server, and the work goes on"
_LONGEST_REASON = 200


@contextmanager
def verdicts(shown: str) -> Iterator[None]:
    """Turn errors of SQLAlchemy and psycopg into errors that name the database."""
    try:
        with errors.naming(shown):
            yield
    except DBAPIError as error:
        # Not from the error: a traceback must not lead to a key or a row.
        verdict = _of_postgres(shown, error.orig)
    except psycopg.Error as error:
        verdict = _of_postgres(shown, error)
    except SQLAlchemyError as error:
        verdict = TransientError(f"ledger {shown} failed ({type(error).__name__})")
    except MemoryError:
        verdict = TransientError(f"ledger {shown} {errors.OUT_OF_MEMORY}")
    else:
        return
    raise verdict from None


def _of_postgres(shown: str, error: BaseException | None) -> PollerError:
    code = getattr(error, "sqlstate", None)
    if code is None:
        return TransientError(f"ledger {shown} cannot be reached: {_reason(error)}")
    if code.startswith("23"):
        return ConflictError(f"ledger {shown}: another writer was first (SQLSTATE {code})")
    for words, kind in ((_DAMAGED, "ledger-damaged"), (_REFUSED, "ledger-access-refused")):
        text = words.get(code) or words.get(code[:2])
        if text is not None:
            return _fatal(f"ledger {shown} {text} (SQLSTATE {code})", kind)
    text = _TRANSIENT.get(code) or _TRANSIENT.get(code[:2])
    if text is not None:
        kind_of_error = LedgerLockedError if code == _LOCK_NOT_AVAILABLE else TransientError
        hint = _ROOM if code == _DISK_FULL else None
        return kind_of_error(f"ledger {shown} {text} (SQLSTATE {code})", hint=hint)
    return _fatal(f"ledger {shown} failed (SQLSTATE {code})", "ledger-damaged")


def _fatal(message: str, kind: str) -> LedgerFatalError:
    if kind == "ledger-damaged":
        return LedgerFatalError(message, code="ledger-damaged", hint=_RESTORE)
    return LedgerFatalError(message, code="ledger-access-refused", hint=_ACCESS)


def _reason(error: BaseException | None) -> str:
    """Return the first line of an error of the connection, which holds no row and no key."""
    first, *_ = str(error).splitlines() or [""]
    text = "".join(character for character in first if character.isprintable())
    return text[:_LONGEST_REASON] or type(error).__name__
