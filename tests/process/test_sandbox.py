"""The sandbox as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.process.bench import PATIENCE_S, SandboxProcess


def test_another_process_can_control_the_whole_sandbox() -> None:
    sandbox = SandboxProcess(seed=7, events=50, plan="free")
    try:
        assert sandbox.truth()["expected"] > 0
        grown = sandbox.ask("grow", count=20, seconds=60, kinds=["login"])
        assert grown["first"] < grown["last"]
        (late,) = sandbox.ask("late", ago=300)
        assert late < grown["first"]
        assert len(sandbox.ask("append", records=[{"type": "s", "user_id": "a"}, None])) == 2
        before = sandbox.truth()["expected"]
        assert before == len(sandbox.truth()["lost"])
        sandbox.ask("tenant", plan="enterprise", index_lag=0.5, scopes=["read:logs"], revoke=True)
        sandbox.ask("collector", refused_users=["x"], dedupe_window=60)
        sandbox.ask("faults", clear=True, set=[{"action": "status", "status": 500}])
        sandbox.ask("clock", advance=60.0)
        sandbox.ask("traffic", rate=100.0)
        sandbox.ask("traffic", rate=0.0)
        assert sandbox.ask("requests") == []
        assert sandbox.ask("messages") == []
    finally:
        sandbox.close()


def test_the_sandbox_ends_with_its_input_and_with_sigterm(tmp_path: Path) -> None:
    for end in ("input", "signal"):
        process = subprocess.Popen(
            [sys.executable, "-m", "poller.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=dict(os.environ),
        )
        assert process.stdout is not None
        assert set(json.loads(process.stdout.readline())) >= {
            "auth0_url",
            "segment_url",
            "control_url",
            "domain",
        }
        if end == "signal":
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
