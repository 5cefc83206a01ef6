"""The speed of the program, as ratios within one run against a bound or a bare loop.

`.venv/bin/python -m tests.benchmarks [NAME…]` runs them in about five minutes. It exits with 1 if
a figure misses its bound.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import cpu, databases, field, live, many, memory, page, speed, start, workers
from tests.benchmarks.figure import Figure, table

CASES: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "enterprise": speed.enterprise,
    "self-service": speed.self_service,
    "parallel": speed.parallel,
    "drain": live.drain,
    "catch-up": live.catch_up,
    "cpu": cpu.against_a_bare_loop,
    "page": page.with_viewers,
    "start": start.of_status,
    "memory": memory.over_many_pages,
    "databases": databases.against_sqlite,
    "many": many.idle,
    "beside": many.beside,
    "thousand": many.thousand,
    "workers": workers.doubled,
    "extension": field.against_the_extension,
}


def main(arguments: list[str]) -> int:
    figures: list[Figure] = []
    for name in _names(arguments) or CASES:
        with tempfile.TemporaryDirectory() as folder:
            for figure in CASES[name](Path(folder)):
                sys.stderr.write(f"{figure.name}: {figure.value:.2f}\n")
                figures.append(figure)
    sys.stdout.write(table(figures))
    return 0 if all(figure.holds for figure in figures) else 1


def _names(arguments: list[str]) -> list[str]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Run the benchmarks with these names, or all of them in about five minutes.",
        epilog="\n".join(["benchmarks:", *map(_line, CASES)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a name of the list below")
    names: list[str] = parser.parse_args(arguments).names
    strange = [name for name in names if name not in CASES]
    if strange:
        parser.error(f"no such benchmark: {', '.join(strange)}; there are {', '.join(CASES)}")
    return names


def _line(name: str) -> str:
    about = (CASES[name].__doc__ or "").partition("\n")[0]
    return f"  {name:<14}{about}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
