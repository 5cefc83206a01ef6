"""The wheel in a container, as packaging/Containerfile sets it up."""

import contextlib
import re
from pathlib import Path

import pytest

from tests.packages.container import CONTAINERFILE, missing, running
from tests.packages.debian import NAME, run
from tests.packages.distributions import Distributions, tool
from tests.paths import ROOT
from tests.process.bench import NEVER_LOGGED, PATIENCE_S, SandboxThread, eventually


@pytest.fixture(scope="session")
def venv(dist: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel and the pinned libraries, as the image has it."""
    folder = tmp_path_factory.mktemp("image") / "venv"
    uv = tool("uv")
    run(uv, "venv", "--quiet", "--python", "/usr/bin/python3", str(folder))
    install = (uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"))
    requirements = str(ROOT / "packaging/requirements.txt")
    run(*install, "--require-hashes", "--only-binary", ":all:", "--requirement", requirements)
    run(*install, "--no-deps", "--no-index", str(dist.wheel))
    return folder


def test_the_image_takes_pinned_wheels_only_and_runs_without_rights() -> None:
    sources = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    assert sources == ["packaging/requirements.txt dist/*.whl"]
    assert "--require-hashes --only-binary :all:" in CONTAINERFILE
    users = re.findall(r"^USER (.*)$", CONTAINERFILE, re.MULTILINE)
    assert users == ["10001:10001"]
    (state,) = re.findall(r"^VOLUME (.*)$", CONTAINERFILE, re.MULTILINE)
    assert state == f"/var/lib/{NAME}"
    assert f"ENV STATE_DIRECTORY={state}" in CONTAINERFILE


def test_the_first_process_of_a_container_forwards_is_healthy_reaps_and_stops_when_told(
    venv: Path, tmp_path: Path
) -> None:
    if reason := missing():
        pytest.skip(reason)
    with contextlib.closing(SandboxThread(seed=1, events=100)) as sandbox:
        facts = sandbox.facts
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        for name, fact in (
            ("auth0_client_secret", "client_secret"),
            ("segment_write_key", "write_key"),
        ):
            (secrets / name).write_text(facts[fact])
        settings = {
            "POLLER_AUTH0__DOMAIN": facts["domain"],
            "POLLER_AUTH0__CLIENT_ID": facts["client_id"],
            "POLLER_AUTH0__BASE_URL": facts["auth0_url"],
            "POLLER_SEGMENT__ENDPOINT": facts["segment_url"],
            "POLLER_POLL__INTERVAL": "1s",
            "POLLER_POLL__START": "earliest",
        }
        with running(venv, secrets, settings, tmp_path / "log") as container:
            eventually("all events", lambda: is_delivered(sandbox))
            assert container.is_healthy
            assert container.run("touch", "/new", "/opt/new", "/tmp/new") != 0  # noqa: S108
            assert container.run("sh", "-c", "sleep 0.1 & exit 0") == 0
            eventually("no child is left", lambda: not container.children)
            container.stop()
            assert container.outer.wait(PATIENCE_S) == 0
        truth = sandbox.truth()
        assert not truth["lost"]
        assert not truth["duplicated"]
    assert NEVER_LOGGED.search((tmp_path / "log").read_text()) is None


def is_delivered(sandbox: SandboxThread) -> bool:
    truth = sandbox.truth()
    return bool(truth["expected"]) and not truth["lost"]
