"""The usage of the benchmarks."""

import pytest

from tests.benchmarks.__main__ import CASES, main


def test_the_usage_of_the_benchmarks_says_what_each_of_them_measures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    named = {line[0]: line[1] for line in lines if len(line) > 1 and line[0] in CASES}
    assert list(named) == list(CASES)
    assert all(about.endswith(".") for about in named.values())


def test_an_unknown_benchmark_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cpu", "cpo"])
    assert ended.value.code == 2
    assert "no such benchmark: cpo; there are enterprise," in capsys.readouterr().err
