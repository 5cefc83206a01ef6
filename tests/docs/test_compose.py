"""The compose file of the guide fits the image, the settings and the secrets of the program."""

import re
from typing import Any

import yaml

from poller.config import SETTINGS
from tests.docs.pages import page
from tests.paths import ROOT

GUIDE = page("guides/container.md")
IMAGE = (ROOT / "packaging/Containerfile").read_text()


def compose() -> dict[str, Any]:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_every_secret_of_the_compose_file_is_a_credential_of_the_program() -> None:
    credentials = {setting.credential for setting in SETTINGS if setting.is_secret}
    named = compose()["services"]["poller"]["secrets"]
    assert set(named) <= credentials
    assert compose()["secrets"] == {name: {"file": f"secrets/{name}"} for name in named}
    assert all(f" secrets/{name}\n" in GUIDE for name in named)


def test_every_variable_of_the_compose_file_and_of_the_image_is_a_setting() -> None:
    variables = {setting.variable for setting in SETTINGS}
    named = set(compose()["services"]["poller"]["environment"])
    named |= set(re.findall(r"^ENV (POLLER_\w+)=", IMAGE, re.MULTILINE))
    assert named
    assert named <= variables


def test_prometheus_and_the_check_of_health_ask_where_the_image_listens() -> None:
    (port,) = re.findall(r"^ENV POLLER_METRICS__LISTEN=.*:(\d+)$", IMAGE, re.MULTILINE)
    scraped = yaml.safe_load(compose()["configs"]["prometheus"]["content"])["scrape_configs"]
    assert scraped[0]["static_configs"] == [{"targets": [f"poller:{port}"]}]
    assert f"'127.0.0.1', {port}" in IMAGE
    assert (ROOT / compose()["configs"]["alerts"]["file"]).exists()


def test_the_ledger_is_kept_in_the_volume_of_the_image() -> None:
    (volume,) = re.findall(r"^VOLUME (.*)$", IMAGE, re.MULTILINE)
    assert compose()["services"]["poller"]["volumes"] == [f"ledger:{volume}"]
    assert compose()["services"]["poller"]["read_only"] is True
