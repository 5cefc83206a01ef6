"""The files of pinned versions: they fit the project, and name no address."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packages.distributions import pinned
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ("alerts", "ha", "postgres")
NEEDED = {
    "requirements.txt": [
        *PROJECT["project"]["dependencies"],
        *(each for name in EXTRAS for each in PROJECT["project"]["optional-dependencies"][name]),
    ],
    "build.txt": PROJECT["build-system"]["requires"],
}


@pytest.mark.parametrize("name", NEEDED)
def test_each_dependency_is_pinned_to_a_version_that_the_project_allows(name: str) -> None:
    versions = pinned(name)
    for each in map(Requirement, NEEDED[name]):
        assert versions[canonicalize_name(each.name)] in each.specifier, str(each)


@pytest.mark.parametrize("name", NEEDED)
def test_each_pinned_version_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "packaging" / name).read_text()
    blocks = re.split(r"^(?=[\w.-]+(?:\[\w+\])?==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned(name)) > 1
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--(extra-)?index|--find-links|file:", text)


def test_the_group_of_the_build_is_the_build_system() -> None:
    assert sorted(PROJECT["dependency-groups"]["build"]) == sorted(
        PROJECT["build-system"]["requires"]
    )
