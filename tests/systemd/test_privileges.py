"""Root acts as the owner of the ledger's folder, which may belong to a real or a dynamic user."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.bench import PATIENCE_S, Sandbox, SandboxThread, eventually
from tests.process.template import Template
from tests.systemd.machine import PATH, Machine
from tests.systemd.site import ETC, INSTALLED, Site, settings_of

PROGRAM = f"{INSTALLED}/bin/auth0-segment-poller"
OWNER, OTHER = 4242, 4343
FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal")
FILES += ("ledger.db.known", "ledger.db.run.lock", "ledger.db.backfill.lock")
COMMANDS = (
    "run --once",
    "backfill --yes --since 1d",
    "status",
    "check",
    "verify",
    "ledger show",
    "ledger set-position earliest --yes",
    "dead-letters list",
    "dead-letters replay --all --yes",
)
SECRET = "only root may read this\n"


def run_as_root(machine: Machine, template: Template, *arguments: str) -> tuple[int, str]:
    """Run a command in the machine as root, and return its exit code and its stderr."""
    environ = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    out, err = Path("/run/out"), Path("/run/err")
    forked = template.start(
        [PROGRAM, *arguments], environ=environ, folder=Path("/"), out=out, err=err
    )
    code = forked.wait(PATIENCE_S)
    return code, (machine.root / err.relative_to("/")).read_text()


@dataclass(frozen=True)
class Home:
    """A folder of another user with a ledger, settings that name it, and a file of root."""

    machine: Machine
    sandbox: Sandbox
    folder: str
    template: Template

    @property
    def seen(self) -> Path:
        """The folder of the ledger, seen from outside."""
        return self.machine.root / self.folder.lstrip("/")

    @property
    def target(self) -> Path:
        return self.machine.root / "var/lib/of-root"

    @property
    def new(self) -> Path:
        return self.machine.root / "var/lib/never-there"

    def write(self, url: str | None = None) -> None:
        tables = settings_of(self.sandbox)
        tables["state"] = {"url": url or f"sqlite:///{self.folder}/ledger.db"}
        secrets = {"auth0": "client_secret", "segment": "write_key"}
        for section, name in secrets.items():
            tables[section][name] = self.sandbox.facts[name]
        lines = [
            f"[{section}]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items())
            for section, table in tables.items()
        ]
        self.machine.write(f"{ETC}/home.toml", "".join(lines), 0o600)

    def run(self, command: str, *, wrapper: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run a command, and return its exit code and its stderr."""
        name, *rest = command.split()
        config = ["--config", f"{ETC}/home.toml"]
        given = (
            [name, *rest[:1], *config, *rest[1:]]
            if name in {"ledger", "dead-letters"}
            else [name, *config, *rest]
        )
        if wrapper:
            ended = self.machine.run(*wrapper, PROGRAM, *given, is_checked=False)
            return ended.returncode, ended.stderr
        return run_as_root(self.machine, self.template, *given)

    def at_home(self, *command: str) -> None:
        """Run a command as the owner of the folder would."""
        self.machine.run(
            "setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", "--", *command
        )


@pytest.fixture(scope="module")
def started_templates() -> Iterator[list[Template]]:
    """Return a list for the template of this module, which ends with the module."""
    started: list[Template] = []
    yield started
    for template in started:
        template.close()


@pytest.fixture
def template(installed: Machine, started_templates: list[Template]) -> Template:
    """Return a template of root's commands in the machine."""
    if not started_templates:
        started_templates.append(Template(*installed.entry(), f"{INSTALLED}/bin/python"))
    return started_templates[0]


@pytest.fixture
def home(installed: Machine, template: Template) -> Iterator[Home]:
    sandbox = SandboxThread(seed=1, events=20)
    made = Home(installed, sandbox, "/var/lib/home", template)
    try:
        installed.run(
            "sh", "-c", f"mkdir -m 755 {made.folder} && chown {OWNER}:{OWNER} {made.folder}"
        )
        made.target.write_text(SECRET)
        made.target.chmod(0o600)
        made.write()
        yield made
    finally:
        installed.run(
            "rm", "-rf", made.folder, "/var/lib/of-root", "/var/lib/never-there", f"{ETC}/home.toml"
        )
        sandbox.close()


def assert_untouched(home: Home) -> None:
    status = home.target.stat()
    assert home.target.read_text() == SECRET
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 0, 0o600)
    assert not home.new.exists()


def test_a_file_that_root_makes_in_a_folder_of_another_user_belongs_to_that_user(
    home: Home,
) -> None:
    for command in COMMANDS:
        code, said = home.run(command)
        assert code in {0, 3}, (command, said)
    assert {path.stat().st_uid for path in home.seen.iterdir()} == {OWNER}
    assert {path.name for path in home.seen.iterdir()} >= {
        "ledger.db",
        "ledger.db.known",
        "ledger.db.run.lock",
    }
    assert home.sandbox.truth()["lost"] == []


PLANTED = {
    "link": "ln -s /var/lib/of-root",
    "link to nothing": "ln -s /var/lib/never-there",
    "second name": "ln /var/lib/of-root",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_link_in_place_of_any_file_leads_root_nowhere(home: Home, kind: str) -> None:
    home.run("run --once")
    for name in FILES:
        planted = f"{home.folder}/{name}"
        home.machine.run("sh", "-c", f"rm -f {planted} && {PLANTED[kind]} {planted}")
        for command in ("run --once", "status"):
            code, said = home.run(command)
            assert code != 1, (name, command, said)
            assert_untouched(home)
        home.machine.run("rm", "-f", planted)


def test_a_link_to_a_folder_of_roots_leads_root_nowhere(home: Home) -> None:
    home.at_home("ln", "-s", "/etc", f"{home.folder}/inner")
    home.write(f"sqlite:///{home.folder}/inner/ledger.db")
    code, said = home.run("run --once")
    assert code == 78, said
    assert not (home.machine.root / "etc/ledger.db.run.lock").exists()
    assert not (home.machine.root / "etc/ledger.db").exists()


def test_a_folder_of_a_third_user_on_the_way_is_refused(home: Home) -> None:
    home.machine.run("install", "-d", "-o", str(OTHER), f"{home.folder}/inner")
    home.write(f"sqlite:///{home.folder}/inner/ledger.db")
    code, said = home.run("run --once")
    assert (code, "several users" in said) == (78, True), said
    assert [*(home.seen / "inner").iterdir()] == []


@pytest.mark.parametrize("mode", ["777", "1777", "775"])
def test_a_folder_of_roots_that_others_can_write_to_is_refused(home: Home, mode: str) -> None:
    home.machine.run("sh", "-c", f"chown 0:{OTHER} {home.folder} && chmod {mode} {home.folder}")
    code, said = home.run("run --once")
    assert (code, "other users can write" in said) == (78, True), said
    assert [*home.seen.iterdir()] == []


def test_root_without_the_right_to_become_another_refuses(home: Home) -> None:
    for missing in ("setuid", "setgid"):
        without = ("setpriv", f"--bounding-set=-{missing}", f"--inh-caps=-{missing}", "--")
        code, said = home.run("run --once", wrapper=without)
        assert (code, "root cannot become user 4242" in said) == (78, True), said
    assert [*home.seen.iterdir()] == []


def test_a_user_who_cannot_reach_the_folder_is_told(home: Home) -> None:
    home.machine.run("sh", "-c", f"chown 0:0 {home.folder} && chmod 700 {home.folder}")
    home.machine.run("install", "-d", "-o", str(OWNER), f"{home.folder}/inner")
    home.write(f"sqlite:///{home.folder}/inner/ledger.db")
    code, said = home.run("status")
    assert (code, "cannot enter" in said) == (78, True), said


def test_another_user_who_may_not_enter_the_folder_is_told_what_is_wrong(home: Home) -> None:
    home.machine.run("sh", "-c", f"chmod 700 {home.folder} && chmod 644 {ETC}/home.toml")
    other = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "--")
    for command in ("run --once", "status", "ledger show", "dead-letters list"):
        code, said = home.run(command, wrapper=other)
        assert (code, "bug" in said) == (78, False), (command, said)


def test_the_process_has_no_right_of_roots_left_and_its_memory_is_closed_to_the_user(
    home: Home,
) -> None:
    script = f"""
import json, os
from pathlib import Path
from poller.service.lifecycle.privileges import give_up_root
give_up_root(Path("{home.folder}/ledger.db"))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
facts = {{name: status[name].split() for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm")}}
facts["owner"] = Path("/proc/self/environ").stat().st_uid
print(json.dumps(facts))
"""
    found = json.loads(
        home.machine.run("/opt/auth0-segment-poller/bin/python", "-c", script).stdout
    )
    assert found == {
        "Uid": [str(OWNER)] * 4,
        "Gid": [str(OWNER)] * 4,
        "Groups": [],
        "CapEff": ["0" * 16],
        "CapPrm": ["0" * 16],
        "owner": 0,
    }


# The private folder of a dynamic user, which only root and the service may enter


def test_root_reads_and_moves_the_ledger_of_a_dynamic_user_while_its_service_runs_and_after(
    site: Site,
) -> None:
    site.start()
    eventually("all events", lambda: site.is_delivered)
    assert _typed(site, "status")["daemon"]["pid"]
    assert _typed(site, "dead-letters list") == []
    uid = int(site.show("UID"))
    site.stop()
    assert _typed(site, "status")["daemon"] is None
    site.machine.run(
        PROGRAM,
        "ledger",
        "set-position",
        "earliest",
        "--yes",
        "--config",
        f"{ETC}/{site.name}.toml",
    )
    assert {path.stat().st_uid for path in site.state.iterdir()} == {uid}
    mounts = (site.machine.root / "proc/1/mounts").read_text()
    assert "/var/lib/private" not in mounts
    site.start()
    eventually("a cycle", lambda: "last cycle" in site.show("StatusText"))


def test_a_link_in_a_private_folder_leads_root_nowhere_and_without_the_right_to_mount_root_refuses(
    site: Site, template: Template
) -> None:
    site.start()
    eventually("all events", lambda: site.is_delivered)
    site.stop()
    target = site.machine.root / "var/lib/of-root"
    given = ("--config", f"{ETC}/{site.name}.toml")
    without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--")
    ended = site.machine.run(*without, PROGRAM, "status", *given, is_checked=False)
    assert (ended.returncode, "systemd-run" in ended.stderr) == (78, True), ended.stderr
    for name in FILES:
        target.write_text(SECRET)
        target.chmod(0o600)
        planted = site.state / name
        planted.unlink(missing_ok=True)
        planted.symlink_to("/var/lib/of-root")
        moving = ("ledger", "set-position", "earliest", "--yes")
        for command in (("status",), moving):
            code, said = run_as_root(site.machine, template, *command, *given)
            assert code != 1, said
        assert target.read_text() == SECRET
        assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (0, 0o600)
        planted.unlink()
    target.unlink()


def _typed(site: Site, command: str) -> object:
    given = [*command.split(), "--json", "--config", f"{ETC}/{site.name}.toml"]
    return json.loads(site.machine.run(PROGRAM, *given).stdout)
