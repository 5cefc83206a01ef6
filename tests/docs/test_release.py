"""The workflow of a release: what it tests, and what each of its jobs may do."""

import re
import tomllib
from typing import Any

import yaml

from tests.paths import ROOT

TEXT = (ROOT / ".github/workflows/release.yml").read_text()
JOBS: dict[str, Any] = yaml.safe_load(TEXT)["jobs"]


def test_a_release_is_tested_on_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert JOBS["test"]["strategy"]["matrix"]["python"] == named


def test_each_job_waits_for_the_one_before() -> None:
    assert [job.get("needs") for job in JOBS.values()] == [None, "test", "build", "publish"]


def test_each_action_is_named_by_its_commit() -> None:
    used = re.findall(r"uses: (\S+)", TEXT)
    assert len(used) > 5
    assert [use for use in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", use)] == []


def test_no_job_has_a_secret_and_only_the_last_one_may_write_to_the_repository() -> None:
    assert "secrets." not in TEXT
    assert yaml.safe_load(TEXT)["permissions"] == {"contents": "read"}
    writers = [name for name, job in JOBS.items() if "contents: write" in yaml.dump(job)]
    assert writers == [list(JOBS)[-1]]
    assert JOBS["publish"]["permissions"] == {"id-token": "write"}


def test_the_version_stands_in_one_place() -> None:
    (shown,) = re.findall(r"sed -n '(s/.*/p)' (\S+)\)", TEXT)
    assert shown[1] == "poller/__init__.py"
    assert (
        len(re.findall(r'^__version__ = "(.*)"$', (ROOT / shown[1]).read_text(), re.MULTILINE)) == 1
    )
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
