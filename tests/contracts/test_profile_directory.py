"""The contract of every ProfileDirectory: known users, unknown users and failures."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from poller.adapters.auth0 import Auth0Users, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import TransientError
from poller.core.ports import ProfileDirectory
from poller.core.translation.rules import DEFAULT
from poller.sandbox import Fault, Sandbox
from poller.service.upstream.profile_cache import CachedProfiles
from poller.service.upstream.rate_limit import RateLimiter
from tests.fakes import LATER, FakeDirectory


@dataclass
class World:
    """A directory of 130 users, the last of them too new for the search index, and one deleted."""

    directory: ProfileDirectory
    user_ids: list[str]
    deleted: str
    fail: Callable[[], None]
    requests: Callable[[], int]


def world_of_fake() -> World:
    user_ids = [f"auth0|{number}" for number in range(130)]
    directory = FakeDirectory(
        {user_id: {"email": f"{user_id}@example.com"} for user_id in user_ids}
    )

    def fail() -> None:
        directory.failure = LATER

    return World(directory, user_ids, "auth0|gone", fail, lambda: len(directory.asked))


@pytest.fixture(params=["fake", "auth0"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield world_of_fake()
        return
    with Sandbox(plan="unlimited") as sandbox:
        tenant = sandbox.tenant
        users = [tenant.add_user() for _ in range(130)]
        deleted = tenant.add_user()
        deleted.deleted = True
        sandbox.clock.advance(timedelta(minutes=1))
        users[-1].searchable_at = sandbox.clock.now() + timedelta(minutes=1)
        http = Http(sandbox.auth0_url, ServerClock())
        given = Credentials(
            domain=tenant.domain, client_id=tenant.client_id, client_secret=tenant.client_secret
        )
        api = ManagementApi(http, TokenSource(given, http), RateLimiter(threading.Event()))
        yield World(
            Auth0Users(api, fields=DEFAULT.profile_fields),
            [user.user_id for user in users],
            deleted.user_id,
            lambda: sandbox.faults.set(Fault(action="status", path="/api/v2/users", times=None)),
            lambda: len(sandbox.faults.seen("auth0", "/api/v2/users")),
        )
        http.close()


def test_every_user_asked_for_is_found_under_the_id_that_was_asked(world: World) -> None:
    found = world.directory.of(world.user_ids)
    assert set(found) == set(world.user_ids)
    assert all(profile.user_id == user_id for user_id, profile in found.items())
    assert all("@example.com" in profile.fields["email"] for profile in found.values())


def test_a_linked_account_is_found_by_the_search_of_the_sandbox() -> None:
    with Sandbox(plan="unlimited") as sandbox:
        tenant = sandbox.tenant
        primary, secondary = tenant.add_user(), tenant.add_user(is_social=True)
        tenant.link(primary, secondary)
        sandbox.clock.advance(timedelta(minutes=1))
        http = Http(sandbox.auth0_url, ServerClock())
        given = Credentials(
            domain=tenant.domain, client_id=tenant.client_id, client_secret=tenant.client_secret
        )
        api = ManagementApi(http, TokenSource(given, http), RateLimiter(threading.Event()))
        for search_linked, expected in ((True, {secondary.user_id: primary.user_id}), (False, {})):
            directory = Auth0Users(api, fields=DEFAULT.profile_fields, search_linked=search_linked)
            profiles = directory.of([secondary.user_id])
            assert {key: profile.user_id for key, profile in profiles.items()} == expected
        http.close()


def test_a_deleted_user_is_missing(world: World) -> None:
    assert set(world.directory.of([world.deleted, world.user_ids[0]])) == {world.user_ids[0]}


def test_a_hundred_and_thirty_users_cost_a_handful_of_requests(world: World) -> None:
    world.directory.of(world.user_ids)
    assert world.requests() <= 4


def test_an_empty_list_of_users_costs_no_request(world: World) -> None:
    assert world.directory.of([]) == {}
    assert world.requests() <= 1


def test_a_failing_directory_says_so(world: World) -> None:
    world.fail()
    with pytest.raises(TransientError):
        world.directory.of(world.user_ids)


def test_behind_the_cache_a_failing_directory_costs_traits_only(world: World) -> None:
    failures: list[Exception] = []
    cached = CachedProfiles(world.directory, failures.append)
    known = cached.of(world.user_ids[:3])
    world.fail()
    assert cached.of(world.user_ids[:3]) == known
    assert cached.of(world.user_ids[3:5]) == {}
    assert len(failures) == 1
