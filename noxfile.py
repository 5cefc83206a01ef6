"""The tasks of a contributor and of CI, in the environment that runs nox.

`.venv/bin/nox` runs the quick checks, `.venv/bin/nox -s tests` runs every test that
needs Python alone, and `.venv/bin/nox --list` shows all tasks.
"""

import os
import sys
from pathlib import Path

import nox

BIN = Path(sys.executable).parent
REQUIREMENTS = {
    "requirements": ("pyproject.toml", "--extra", "alerts", "--extra", "ha", "--extra", "postgres"),
    "build": ("--group", "build"),
}
"""The files of pinned versions, and what uv makes each from."""
nox.options.default_venv_backend = "none"
ON_EITHER_DATABASE = (
    *(
        f"tests/adapters/sql_ledger/test_{name}.py"
        for name in (
            "acknowledged",
            "alert_state",
            "fatal_exit",
            "key_changes",
            "pending_identifies",
            "people",
            "revisits",
            "set_position",
            "streams",
            "two_writers",
        )
    ),
    "tests/service/daemon",
    "tests/service/slices",
    "tests/service/test_conservation_model.py",
)
"""Tests that open the ledger only by its URL."""
nox.options.sessions = ["style", "types", "imports"]


def run(
    session: nox.Session, command: str, *arguments: str, env: dict[str, str] | None = None
) -> None:
    """Run a command of this environment."""
    session.run(str(BIN / command), *arguments, external=True, env=env)


@nox.session
def style(session: nox.Session) -> None:
    """Check the code's style, its format and the spelling."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package."""
    run(session, "mypy", "--strict", "poller")


@nox.session
def imports(session: nox.Session) -> None:
    """Check that imports point one way."""
    run(session, "lint-imports")


@nox.session
def fast(session: nox.Session) -> None:
    """Run the tests that start no process."""
    run(session, "pytest", "-m", "fast", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test that needs Python alone, but the long runs."""
    run(session, "pytest", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests of the live page in a real browser."""
    run(session, "pytest", "-n", "0", "-m", "browser", *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True)
def packages(session: nox.Session) -> None:
    """Test what is released: build it, and install it as people do."""
    environ = tools_of_a_release(session)
    options = ("-n", "0", "-m", "packages", "tests/packages", *session.posargs)
    run(session, "pytest", *options, env=environ)


@nox.session(venv_backend="venv", reuse_venv=True)
def dist(session: nox.Session) -> None:
    """Build what is released, into dist/. The Debian package is for this machine's Debian."""
    environ = tools_of_a_release(session)
    session.run("pyproject-build", "--no-isolation", "--outdir", "dist", env=environ)
    (wheel,) = Path("dist").glob("*.whl")
    session.run("packaging/deb.sh", str(wheel), "dist", env=environ, external=True)


@nox.session(venv_backend="venv", reuse_venv=True)
def requirements(session: nox.Session) -> None:
    """Pin the newest versions of what root installs, with their hashes, in packaging/."""
    environ = tools_of_a_release(session)
    options = ("--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes")
    # The address of an index is a matter of the machine that installs.
    told = ("--quiet", "--no-emit-index-url", "--custom-compile-command", "nox -s requirements")
    for name, inputs in REQUIREMENTS.items():
        output = ("--output-file", f"packaging/{name}.txt")
        session.run("uv", "pip", "compile", *options, *told, *output, *inputs, env=environ)


def tools_of_a_release(session: nox.Session) -> dict[str, str]:
    """Install the tools into the environment of the session, and return the variables for them."""
    tools = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "packages")
    environ = {
        "PATH": f"{session.bin}{os.pathsep}{os.environ['PATH']}",
        "UV_CACHE_DIR": str(Path(".nox/uv-cache").resolve()),
    }
    session.install("uv")
    session.run("uv", "pip", "install", "--quiet", *tools, env=environ)
    return environ


@nox.session
def postgres(session: nox.Session) -> None:
    """Run the tests on a real PostgreSQL server, which they start themselves."""
    run(session, "pytest", "-n", "2", "-m", "postgres and not soak", *session.posargs)
    if not session.posargs:
        run(session, "pytest", "-n", "2", "--ledger=postgres", *ON_EITHER_DATABASE)


@nox.session
def systemd(session: nox.Session) -> None:
    """Type the guides on a private systemd, and test the units."""
    run(session, "pytest", "-n", "0", "-m", "systemd", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the long tests: kills, bursts, and thousands of histories of the ledger."""
    run(session, "pytest", "-m", "soak", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure speed, memory and CPU against their bounds."""
    run(session, "python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def reference(session: nox.Session) -> None:
    """Write the generated pages of docs/reference again."""
    run(session, "python", "-m", "tests.docs.reference")
