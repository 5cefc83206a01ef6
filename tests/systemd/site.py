"""The program as the guides install it, and a settings file with its units and its tenant."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import commands_under, page
from tests.paths import ROOT
from tests.process.bench import Sandbox
from tests.systemd.machine import PATH, Machine

FAULT = Path(__file__).with_name("fault") / "sitecustomize.py"
CLONE = "/tmp/clone"  # noqa: S108 - the machine's own
BIN = "/tmp/bin"  # noqa: S108 - same
IN_A_CLONE = (
    *("poller", "systemd", "packaging"),
    *("pyproject.toml", "README.md", "LICENSE", "config.example.toml"),
)
_INSTALL, _UPGRADE = page("guides/install.md"), page("guides/upgrade.md")
BLOCKS = [
    commands_under("Install the program", _INSTALL),
    commands_under("The same by hand", _INSTALL)
    + commands_under("Set up the service", _INSTALL)[1:],
    commands_under("Upgrade", _UPGRADE),
    commands_under("Roll back", _UPGRADE),
    commands_under("Uninstall", _INSTALL),
]
"""The commands of the guides: install, first start by hand, upgrade, rollback, uninstall."""
COPY_UNITS = BLOCKS[1][0]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
ETC = "/etc/auth0-segment-poller"
INSTALLED = "/opt/auth0-segment-poller"


def typed(machine: Machine, line: str, *, stdin: str = "") -> str:
    """Type a line of the guides in the clone, and return its output.

    The commands in `BIN` come first.
    """
    return machine.run(
        "bash", "-c", line, stdin=stdin, cwd=CLONE, environ={"PATH": f"{BIN}:{PATH}"}
    ).stdout


def settings_of(sandbox: Sandbox) -> dict[str, dict[str, str]]:
    """Return the settings that lead to the simulated tenant, without the secrets."""
    facts = sandbox.facts
    return {
        "auth0": {
            "domain": facts["domain"],
            "client_id": facts["client_id"],
            "base_url": facts["auth0_url"],
        },
        "segment": {"endpoint": facts["segment_url"]},
        "poll": {"interval": "1s", "start": "earliest"},
    }


@dataclass
class Site:
    """A settings file with its units and a tenant of its own."""

    machine: Machine
    sandbox: Sandbox
    name: str

    @property
    def unit(self) -> str:
        return f"auth0-segment-poller{'' if self.name == 'config' else f'@{self.name}'}.service"

    @property
    def backfill_unit(self) -> str:
        return f"auth0-segment-poller-backfill@{self.name}.service"

    @property
    def state(self) -> Path:
        """The state directory of the service, seen from outside."""
        return self.machine.root / "var/lib/private/auth0-segment-poller" / self.name

    def write(self, *, secret: str | None = None, **poll: str) -> None:
        """Write the settings and the credentials as root."""
        tables = settings_of(self.sandbox)
        tables["poll"] |= poll
        lines = [
            f"[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items())
            for name, table in tables.items()
        ]
        self.machine.write(f"{ETC}/{self.name}.toml", "".join(lines))
        secrets = {
            "auth0_client_secret": secret or self.sandbox.facts["client_secret"],
            "segment_write_key": self.sandbox.facts["write_key"],
        }
        for name, text in secrets.items():
            self.machine.write(f"{ETC}/{self.name}.credentials/{name}", text + "\n", 0o600)

    def init(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `init --systemd` with the answers in the environment, without a terminal."""
        facts = self.sandbox.facts
        environ = {
            "POLLER_AUTH0__DOMAIN": facts["domain"],
            "POLLER_AUTH0__CLIENT_ID": facts["client_id"],
            "POLLER_AUTH0__CLIENT_SECRET": facts["client_secret"],
            "POLLER_AUTH0__BASE_URL": facts["auth0_url"],
            "POLLER_SEGMENT__WRITE_KEY": facts["write_key"],
            "POLLER_SEGMENT__ENDPOINT": facts["segment_url"],
            "POLLER_POLL__INTERVAL": "1s",
            "POLLER_POLL__START": "earliest",
        }
        command = ("auth0-segment-poller", "init", "--systemd", self.name, *options)
        return self.machine.run(*command, is_checked=False, environ=environ)

    def drop_in(self, *lines: str) -> None:
        """Change the unit for this test, as `systemctl edit` does."""
        text = "\n".join(["[Service]", *lines, ""])
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/test.conf", text)
        self.machine.systemctl("daemon-reload")

    def start(self) -> None:
        """Start the unit, and return when it is ready."""
        ended = self.machine.run("systemctl", "start", self.unit, is_checked=False)
        assert ended.returncode == 0, self.machine.journal(self.unit)

    def stop(self) -> None:
        self.machine.systemctl("stop", self.unit)

    def show(self, name: str) -> str:
        return self.machine.show(self.unit, name)

    def ledger_version(self) -> int:
        look = (
            "import sqlite3, sys; "
            "print(*sqlite3.connect(sys.argv[1]).execute('SELECT version FROM ledger_version'))"
        )
        found = self.machine.run(
            "python3", "-c", look, f"/var/lib/auth0-segment-poller/{self.name}/ledger.db"
        ).stdout
        return int(found.strip("(,)\n"))

    def journal(self) -> str:
        return self.machine.journal(self.unit)

    @property
    def is_delivered(self) -> bool:
        truth = self.sandbox.truth()
        return bool(truth["expected"]) and not truth["lost"]

    def assert_conserved(self) -> None:
        truth = self.sandbox.truth()
        assert truth["expected"] > 0
        for flaw in ("lost", "duplicated", "unexpected", "altered", "misordered", "rejected"):
            assert not truth[flaw], (flaw, truth[flaw])

    def close(self) -> None:
        for unit in (self.unit, self.backfill_unit):
            self.machine.systemctl("kill", "--signal=KILL", unit, is_checked=False)
            self.machine.systemctl("stop", unit, is_checked=False)
            self.machine.systemctl("reset-failed", unit, is_checked=False)
        shutil.rmtree(self.machine.root / f"etc/systemd/system/{self.unit}.d", ignore_errors=True)
