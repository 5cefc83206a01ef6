"""A settings file with routes: each is a pipeline with settings of its own."""

from pathlib import Path

import pytest

from poller.config import (
    Settings,
    SettingsError,
    holds_pipelines,
    load_settings,
    load_shared_settings,
    pipeline_names,
    read_defaults,
    read_pipeline,
    secret_places,
)

HOME = {"HOME": "/home/ada"}
TOP = """[auth0]
domain = "acme.us.auth0.com"
client_id = "abc"
client_secret = "s"

[segment]
endpoint = "https://events.eu1.segmentapis.com"
"""
SHOP = """
[[routes]]
name = "shop"
when = "log.client_id == 'shop'"
write_key = "key-of-shop"
"""
REST = """
[[routes]]
name = "rest"
write_key = "key-of-rest"
source_name = "web"
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    path = tmp_path / "acme.toml"
    path.write_text(TOP + SHOP + REST)
    return path


def load(path: Path, name: str = "acme.shop", environ: dict[str, str] | None = None) -> Settings:
    return load_settings(read_pipeline(path, name), HOME | (environ or {}))


def problems(path: Path, name: str = "acme.shop", **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(path, name, environ)
    return raised.value.problems


def write_key(settings: Settings) -> str:
    assert settings.segment.write_key is not None
    return settings.segment.write_key.get_secret_value()


def test_each_route_of_a_file_is_a_pipeline(acme: Path) -> None:
    assert holds_pipelines(acme)
    assert pipeline_names(acme) == ("acme.rest", "acme.shop")
    shop, rest = load(acme), load(acme, "acme.rest")
    assert (shop.pipeline, rest.pipeline) == ("acme.shop", "acme.rest")
    assert (write_key(shop), write_key(rest)) == ("key-of-shop", "key-of-rest")
    assert rest.segment.source_name == "web"
    assert shop.segment.source_name != "web"
    assert shop.routing is not None
    assert rest.routing is not None
    assert shop.routing.routes == rest.routing.routes
    assert [each.name for each in shop.routing.routes] == ["shop", "rest"]
    assert (shop.routing.own, rest.routing.own) == ("shop", "rest")


def test_the_routes_of_a_file_share_its_ledger_and_all_that_it_says_of_the_rest(
    acme: Path,
) -> None:
    shop, rest = load(acme), load(acme, "acme.rest")
    assert shop.state.url == rest.state.url
    assert shop.auth0 == rest.auth0
    assert shop.segment.endpoint == rest.segment.endpoint
    shared = load_shared_settings(read_defaults(acme), HOME)
    assert shared.auth0.domain == "acme.us.auth0.com"


def test_a_process_of_routes_takes_the_variables_of_the_routes(acme: Path) -> None:
    environ = {**HOME, "POLLER_ROUTES__SHOP__WRITE_KEY": "from-variable"}
    assert load_shared_settings(read_defaults(acme), environ)
    assert load_shared_settings(read_defaults(acme.parent), environ)
    (acme.parent / "_defaults.toml").write_text("[page]\nlisten = '127.0.0.1:0'\n")
    assert load_shared_settings(read_defaults(acme.parent), environ).page.listen
    with pytest.raises(SettingsError, match="POLLER_ROTES__SHOP__WRITE_KEY: unknown setting"):
        load_shared_settings(read_defaults(acme), {**HOME, "POLLER_ROTES__SHOP__WRITE_KEY": "x"})


def test_a_key_of_a_route_wins_over_that_of_the_segment_section(acme: Path) -> None:
    acme.write_text(TOP + SHOP + 'endpoint = "https://proxy.example.com"\n' + REST)
    assert load(acme).segment.endpoint == "https://proxy.example.com"
    assert load(acme, "acme.rest").segment.endpoint == "https://events.eu1.segmentapis.com"


def test_the_routes_of_a_folder_are_pipelines_of_it(acme: Path) -> None:
    (acme.parent / "_defaults.toml").write_text('[segment]\nwrite_key = "of-the-others"\n')
    (acme.parent / "globex.toml").write_text(TOP.partition("[segment]")[0])
    assert pipeline_names(acme.parent) == ("acme.rest", "acme.shop", "globex")
    assert write_key(load(acme.parent)) == "key-of-shop"
    assert write_key(load(acme.parent, "globex")) == "of-the-others"
    assert load(acme).pipeline == "acme.shop"
    assert load(acme).state.url == load(acme.parent, "acme.rest").state.url


def test_a_route_never_takes_the_source_that_the_defaults_have_for_others(acme: Path) -> None:
    others = '[segment]\nwrite_key = "of-the-others"\nsource_name = "theirs"\nsource_id = "x"\n'
    (acme.parent / "_defaults.toml").write_text(others)
    shop = load(acme.parent).segment
    assert (shop.source_name != "theirs", shop.source_id) == (True, None)
    acme.write_text(TOP + SHOP.replace('write_key = "key-of-shop"\n', "") + REST)
    (problem,) = problems(acme.parent)
    assert "routes.shop.write_key: is missing" in problem


def test_a_write_key_may_be_a_file_a_credential_or_a_variable(acme: Path) -> None:
    acme.write_text(TOP + SHOP.replace("write_key", "write_key_file") + REST)
    (acme.parent / "key-of-shop").write_text("from-file\n")
    assert write_key(load(acme)) == "from-file"
    (acme.parent / "acme.credentials").mkdir()
    (acme.parent / "acme.credentials/rest.segment_write_key").write_text("from-credentials")
    acme.write_text(TOP + SHOP + REST.replace('write_key = "key-of-rest"\n', ""))
    assert write_key(load(acme, "acme.rest")) == "from-credentials"
    environ = {"POLLER_ROUTES__SHOP__WRITE_KEY": "from-variable"}
    assert write_key(load(acme, environ=environ)) == "from-variable"
    assert write_key(load(acme, "acme.rest", environ)) == "from-credentials"
    places = {each.name: each for each in secret_places(read_pipeline(acme, "acme.rest"), HOME)}
    assert places["segment.write_key"].is_in_folder


@pytest.mark.parametrize(
    ("is_in_folder", "given"),
    [(False, "shop.segment_write_key"), (True, "acme.shop.segment_write_key")],
)
def test_systemds_credentials_of_a_route_have_its_name(
    acme: Path, tmp_path_factory: pytest.TempPathFactory, *, is_in_folder: bool, given: str
) -> None:
    acme.write_text(TOP + SHOP.replace('write_key = "key-of-shop"\n', "") + REST)
    folder = tmp_path_factory.mktemp("given")
    (folder / given).write_text("from-systemd")
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    path = acme.parent if is_in_folder else acme
    assert write_key(load(path, environ=environ)) == "from-systemd"


@pytest.mark.parametrize(
    ("routes", "line", "key", "wrong"),
    [
        (SHOP + SHOP, 15, "routes.shop.name", "is the name of another route"),
        (SHOP + SHOP.replace("shop", "SHOP"), 15, "routes.SHOP.name", "is the name of another"),
        (SHOP.replace('name = "shop"\n', ""), 9, "routes.1.name", "is missing: give the route"),
        (SHOP.replace('"shop"', '"web shop"'), 10, "routes.1.name", "must be a text of at most"),
        (SHOP.replace('"shop"', "7"), 10, "routes.1.name", "must be a text of at most"),
        (REST + SHOP, 9, "routes.rest.when", "is missing: a route without it takes every event"),
        (SHOP.replace("log.client_id ==", "log.client_id ="), 11, "routes.shop.when", "JMESPath"),
        (SHOP.replace("log.client_id", "user.plan"), 11, "routes.shop.when", "(the event) only"),
        (SHOP.replace("log.client_id", "'shop'"), 11, "routes.shop.when", "names nothing of the"),
        (SHOP.replace("log.client_id", "client_id"), 11, "routes.shop.when", "is neither"),
        (SHOP.replace('"log.', '" log.'), 11, "routes.shop.when", "has white space"),
    ],
)
def test_a_mistake_in_a_route_is_told_with_its_line_and_what_to_do(
    acme: Path, routes: str, line: int, key: str, wrong: str
) -> None:
    acme.write_text(TOP + routes)
    assert not holds_pipelines(acme)
    with pytest.raises(SettingsError) as raised:
        load_settings(acme, HOME)
    (problem,) = raised.value.problems
    assert problem.startswith(f"{acme}:{line}: {key}: ")
    assert wrong in problem
    assert "key-of" not in problem


def test_a_route_without_a_write_key_is_told_every_way_to_set_one(acme: Path) -> None:
    acme.write_text(TOP + SHOP.replace('write_key = "key-of-shop"\n', "") + REST)
    (problem,) = problems(acme)
    assert problem.startswith(f"{acme}:9: routes.shop.write_key: is missing: set write_key or ")
    assert "under [[routes]], POLLER_ROUTES__SHOP__WRITE_KEY" in problem
    assert "a file shop.segment_write_key in" in problem


@pytest.mark.parametrize("key", ["write_key", "source_name", "source_id"])
def test_a_setting_of_one_source_is_refused_beside_routes(acme: Path, key: str) -> None:
    acme.write_text(f'{TOP}{key} = "x"\n{SHOP}{REST}')
    (problem,) = problems(acme)
    assert problem.startswith(f"{acme}:8: segment.{key}: belongs to one source: set it in each of")
    acme.write_text(TOP + SHOP + REST)
    (problem,) = problems(acme, **{f"POLLER_SEGMENT__{key.upper()}": "x"})
    assert problem.startswith(f"POLLER_SEGMENT__{key.upper()}: belongs to one source")


def test_an_unknown_key_of_a_route_suggests_the_one_that_was_meant(acme: Path) -> None:
    acme.write_text(TOP + SHOP + 'write_kye = "x"\ninterval = "5s"\n' + REST)
    typing, other = problems(acme)
    assert typing.startswith(f"{acme}:13: routes.shop.write_kye: unknown key: did you mean write_k")
    assert other.startswith(f"{acme}:14: routes.shop.interval: unknown in a route: it belongs")


@pytest.mark.parametrize("name", ["acme.shop", "acme.rest"])
def test_a_wrong_value_of_a_route_stops_every_route_of_the_file(acme: Path, name: str) -> None:
    """Another route would pass over events that the wrong one has no position for."""
    acme.write_text(TOP + SHOP + "refusal_limit = true\n" + REST)
    (problem,) = problems(acme, name)
    assert problem.startswith(f"{acme}:13: routes.shop.refusal_limit: must be a whole number")
    status = load_settings(read_pipeline(acme, "acme.rest"), HOME, secrets=False)
    assert status.segment.refusal_limit == 20


@pytest.mark.parametrize("is_named", [True, False])
def test_two_routes_to_one_source_are_a_mistake(acme: Path, *, is_named: bool) -> None:
    second = SHOP.replace('name = "shop"', 'name = "second"')
    own = 'source_name = "web"\n' if is_named else ""
    acme.write_text(TOP + SHOP + own + second + own)
    (problem,) = problems(acme)
    line = 18 + is_named if is_named else 14
    assert problem.startswith(
        f"{acme}:{line}: routes.second.source_name: is that of the route shop"
    )
    acme.write_text(TOP + SHOP + second + 'generation = "2"\n')
    assert load(acme).sources_of_routes != ()


def test_each_route_knows_the_streams_of_all_routes_in_their_order(acme: Path) -> None:
    shop, rest = load(acme), load(acme, "acme.rest")
    assert shop.sources_of_routes == rest.sources_of_routes
    assert shop.sources_of_routes == ((shop.segment.source_name, ""), ("web", ""))


def test_an_unknown_route_names_those_that_there_are(acme: Path) -> None:
    with pytest.raises(SettingsError, match=r"did you mean acme\.shop.*it holds acme\.shop"):
        read_pipeline(acme, "acme.shoop")
    with pytest.raises(SettingsError, match=r"unknown pipeline: did you mean acme\.shop"):
        read_pipeline(acme.parent, "acmee.shop")


def test_a_variable_of_a_route_that_the_file_does_not_have_is_a_mistake(acme: Path) -> None:
    (problem,) = problems(acme, POLLER_ROUTES__SHOOP__WRITE_KEY="x")
    assert problem.startswith("POLLER_ROUTES__SHOOP__WRITE_KEY: unknown setting")
    (acme.parent / "_defaults.toml").write_text("")
    assert load(acme.parent, environ={"POLLER_ROUTES__OTHERS__WRITE_KEY": "x"})


def test_a_file_and_a_route_of_one_name_are_a_mistake(acme: Path) -> None:
    (acme.parent / "acme.shop.toml").write_text(TOP)
    with pytest.raises(SettingsError, match=r"has the name of the route shop in acme\.toml"):
        read_pipeline(acme.parent, "acme.shop")


def test_the_defaults_of_a_folder_have_no_routes(acme: Path) -> None:
    (acme.parent / "_defaults.toml").write_text(SHOP)
    (problem,) = problems(acme)
    assert "_defaults.toml:2: routes: belongs into the file of a pipeline" in problem
    with pytest.raises(SettingsError, match="belongs into the file of a pipeline"):
        load_shared_settings(read_defaults(acme.parent), HOME)


def test_a_file_with_a_mistake_keeps_the_routes_that_are_known_of_it(acme: Path) -> None:
    known = pipeline_names(acme.parent)
    (acme.parent / "acme.eu.toml").write_text(TOP)
    acme.write_text(TOP + SHOP + SHOP)
    assert pipeline_names(acme.parent, (*known, "acme.eu")) == ("acme.eu", "acme.rest", "acme.shop")
    assert pipeline_names(acme.parent) == ("acme", "acme.eu")
    assert "is the name of another route" in problems(acme.parent)[0]


def test_a_file_with_routes_is_no_pipeline_itself(acme: Path) -> None:
    with pytest.raises(SettingsError, match=r"and not one: acme\.shop, acme\.rest"):
        load_settings(acme, HOME)


@pytest.mark.parametrize("routes", ["routes = 1\n", "routes = []\n", '[routes]\nname = "x"\n'])
def test_routes_that_are_no_tables_are_a_mistake(acme: Path, routes: str) -> None:
    acme.write_text(routes + TOP)
    with pytest.raises(SettingsError, match=r"acme.toml:1: routes: must be one table or more"):
        load_settings(acme, HOME)
