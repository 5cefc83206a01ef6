"""The wheel and the source distribution of this tree, built once."""

import pytest

from tests.packages.distributions import Distributions, build
from tests.paths import ROOT


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build(ROOT, tmp_path_factory.mktemp("dist"))
