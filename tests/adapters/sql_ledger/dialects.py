"""The databases that a test of the ledger runs on."""

import pytest

DIALECTS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
"""The parameters of a fixture. The real server is a tier of its own."""


def url_of(dialect: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a ledger that does not exist yet."""
    if dialect == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    folder = request.getfixturevalue("tmp_path")
    return f"sqlite:///{folder / 'ledger.db'}"
