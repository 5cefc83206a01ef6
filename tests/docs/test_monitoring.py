"""The alert rules, the dashboard and the pages name metrics that exist."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from poller.cli.views.timeline import STYLES
from poller.service.alerts import kinds
from poller.service.alerts.kinds import KINDS, Kind
from poller.service.observability.metrics import METRICS, PREFIX
from tests.docs.pages import ALL, ROOT, page

RUNBOOK = page("runbook.md")
FOLDER = ROOT / "systemd/monitoring"
ALERTS = (FOLDER / "alerts.yml").read_text()
RULES = re.split(r"(?m)^      - alert: ", ALERTS)[1:]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TESTS_OF_RULES = ROOT / "tests/docs/alerts_test.yml"
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
SCRAPED = {metric.name + part: metric for metric in METRICS for part in PARTS[metric.kind]}
ADDED = {"job", "instance", "le"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alert_names() -> list[str]:
    return [rule.split("\n", 1)[0] for rule in RULES]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return found


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(rf"{PREFIX}\w+", expression))


def labels_in(expression: str) -> set[str]:
    """Return the labels that an expression matches or sums by."""
    matched = re.findall(r'(\w+) *(?:=~|!=|!~|=) *"', expression)
    grouped = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
    return {*matched, *(name.strip() for group in grouped for name in group.split(","))}


# The rules


@pytest.mark.process
@needs_promtool
def test_the_rules_fire_when_they_must_and_only_then() -> None:
    promtool("check", "rules", str(FOLDER / "alerts.yml"))
    promtool("test", "rules", str(TESTS_OF_RULES))


@pytest.mark.parametrize("name", alert_names())
def test_each_rule_is_tested_to_fire_and_to_keep_quiet(name: str) -> None:
    text = TESTS_OF_RULES.read_text()
    assert re.search(rf"alertname: {name}\n +exp_alerts:", text)
    assert re.search(rf"alertname: {name}}}\n", text)


@pytest.mark.parametrize("rule", RULES, ids=alert_names())
def test_each_rule_asks_for_metrics_and_labels_that_exist(rule: str) -> None:
    expression = rule[rule.index("expr:") : rule.index("labels:")]
    assert metrics_in(expression) <= set(SCRAPED)
    assert labels_in(expression) <= labels_of(expression)


@pytest.mark.parametrize("rule", RULES, ids=alert_names())
def test_each_rule_links_to_its_section_of_the_runbook_and_that_section_names_the_rule(
    rule: str,
) -> None:
    name = rule.split("\n", 1)[0]
    (severity,) = re.findall(r"severity: (\w+)", rule)
    (url,) = re.findall(r'runbook_url: "([^"]+)"', rule)
    address, _, anchor = url.partition("#")
    assert address == PROJECT["urls"]["Runbook"]
    sections = dict(re.findall(r"^## (.+)\n([^#]+)", RUNBOOK, re.MULTILINE))
    by_anchor = {heading.lower().replace(" ", "-"): text for heading, text in sections.items()}
    assert by_anchor[anchor].startswith(f"`{name}` ({severity}): ")


def test_the_address_of_the_runbook_leads_to_its_file() -> None:
    urls = PROJECT["urls"]
    assert urls["Runbook"] == f"{urls['Repository']}/blob/main/docs/runbook.md"
    assert all(url.startswith(urls["Repository"]) for url in urls.values())


@pytest.mark.parametrize("kind", KINDS)
def test_each_alert_to_a_person_links_to_a_section_of_the_runbook(kind: Kind) -> None:
    headings = re.findall(r"^##+ (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert PROJECT["urls"]["Runbook"] == kinds.RUNBOOK
    assert KINDS[kind].section in anchors


def test_the_pages_name_no_other_alert() -> None:
    assert set(re.findall(r"`(Auth0SegmentPoller\w+)`", ALL)) == set(alert_names())


# The dashboard


def labels_of(expression: str) -> set[str]:
    return ADDED | {label for name in metrics_in(expression) for label in SCRAPED[name].labels}


@pytest.mark.parametrize("expression", queries())
def test_each_query_of_the_dashboard_asks_for_metrics_and_labels_that_exist(
    expression: str,
) -> None:
    assert metrics_in(expression) or expression.startswith("process_")
    assert metrics_in(expression) <= set(SCRAPED)
    assert labels_in(expression) <= labels_of(expression)


def test_each_legend_names_labels_that_exist() -> None:
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels_of(
                target["expr"]
            )


def test_the_panels_do_not_overlap() -> None:
    taken = [
        (column, row)
        for panel in panels()
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(column for column, _ in taken) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.process
@needs_promtool
def test_prometheus_can_read_each_query(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"panel:{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(file))


# The pages


def test_every_metric_that_is_named_elsewhere_exists() -> None:
    assert metrics_in(ALL) <= set(SCRAPED) | {metric.name for metric in METRICS}


@pytest.mark.process
@needs_promtool
def test_the_scrape_settings_that_are_shown_are_prometheus_own(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", page("guides/monitoring.md"), re.DOTALL)
    rules = tmp_path / "rules.yml"
    rules.write_text(ALERTS)
    file = tmp_path / "prometheus.yml"
    file.write_text(shown.replace("/etc/prometheus/auth0-segment-poller.yml", str(rules)))
    promtool("check", "config", str(file))
    (job,) = re.findall(r"job_name: (\S+)", shown)
    assert set(re.findall(r'job="([^"]+)"', ALERTS)) == {job}


def test_the_guide_explains_each_line_and_each_sign_of_the_status() -> None:
    section = page("guides/monitoring.md").split("\n## Read the status\n")[1].split("\n## ")[0]
    lines, signs = section.split("\nBelow, ")
    rows = re.findall(r"^\| (`.+`) \|", lines, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    code = (ROOT / "poller/cli/views/status.py").read_text()
    assert explained == set(re.findall(r'_line\("([^"]+)"', code))
    meanings = {style.meaning for style in STYLES.values() if style.meaning}
    assert set(re.findall(r"^\| ([a-z ]+?) \| [A-Z]", signs, re.MULTILINE)) == meanings
