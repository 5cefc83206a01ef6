"""The wall clock of the host is set by years while the daemon waits for its next cycle."""

from pathlib import Path

import pytest

from tests.process.bench import Bench, Running, eventually

FAULT = Path(__file__).parent / "fault"
YEAR_S = 365 * 86_400


def memory_mb(running: Running) -> int:
    pages = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1])
    return pages * 4096 // 1_000_000


def delivered(bench: Bench) -> bool:
    truth = bench.sandbox.truth()
    return bool(truth["expected"] == truth["delivered"])


@pytest.mark.parametrize("ahead", [(-50, -25, 0), (0, -25, -50)], ids=["forward", "back"])
def test_a_clock_set_by_years_delays_nothing_and_costs_no_memory(
    plain: Bench, tmp_path: Path, ahead: tuple[int, ...]
) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(ahead[0] * YEAR_S))
    environ = {"PYTHONPATH": str(FAULT), "WALL_CLOCK": str(clock)}
    with plain.start("run", environ=environ) as daemon:
        for years in ahead[1:]:
            cycles = daemon.err.count("cycle.finished")
            eventually(
                "an idle cycle", lambda seen=cycles: daemon.err.count("cycle.finished") > seen + 1
            )
            memory = memory_mb(daemon)
            clock.write_text(str(years * YEAR_S))
            plain.sandbox.ask("grow", count=20, seconds=0)
            eventually("a drain after the clock was set", lambda: delivered(plain))
            assert memory_mb(daemon) < memory + 50
        assert daemon.stop().code == 0
    plain.assert_conserved()
