from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.outcomes import Profile, Profiles
from poller.service.upstream import profile_cache as module
from poller.service.upstream.profile_cache import CachedProfiles

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Directory:
    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.asked: list[tuple[str, ...]] = []
        self.failure: PollerError | None = None

    def of(self, user_ids: Sequence[str]) -> Profiles:
        self.asked.append(tuple(user_ids))
        if self.failure:
            raise self.failure
        return {i: Profile(user_id=i, read_at=NOW, fields={}) for i in user_ids if i in self.known}


class Bench:
    """A cache over a directory, at a time that stands still until moved."""

    def __init__(self, *known: str) -> None:
        self.now = 0.0
        self.directory = Directory(*known)
        self.failures: list[PollerError] = []
        self.cached = CachedProfiles(
            self.directory, self.failures.append, monotonic=lambda: self.now
        )


def test_a_cached_profile_is_not_asked_for_again_within_its_lifetime() -> None:
    bench = Bench("a", "b")
    assert set(bench.cached.of(["a"])) == {"a"}
    assert set(bench.cached.of(["a", "b"])) == {"a", "b"}
    assert bench.directory.asked == [("a",), ("b",)]
    bench.now = module.LIFETIME_S
    bench.cached.of(["a"])
    assert bench.directory.asked[-1] == ("a",)


def test_a_user_who_does_not_exist_is_cached_too() -> None:
    bench = Bench()
    assert bench.cached.of(["gone"]) == {}
    assert bench.cached.of(["gone"]) == {}
    assert len(bench.directory.asked) == 1


@pytest.mark.parametrize(
    ("failure", "pause_s"),
    [
        (TransientError("later"), module.PAUSE_S),
        (FatalError("no scope", code="auth0-scope-missing", hint="grant it"), module.FATAL_PAUSE_S),
    ],
)
def test_a_failing_directory_costs_profiles_and_is_left_alone_for_a_while(
    failure: PollerError, pause_s: float
) -> None:
    bench = Bench("a", "b")
    bench.cached.of(["a"])
    bench.directory.failure = failure
    assert set(bench.cached.of(["a", "b"])) == {"a"}
    assert bench.failures == [failure]
    bench.cached.of(["b"])
    assert len(bench.directory.asked) == 2
    bench.now = pause_s - 1
    bench.cached.of(["b"])
    assert len(bench.directory.asked) == 2
    bench.now = pause_s
    bench.directory.failure = None
    assert set(bench.cached.of(["b"])) == {"b"}


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 3)
    bench = Bench(*"abcdef")
    assert len(bench.cached.of(list("abcdef"))) == 6
    assert len(bench.cached._cached) == 3


@pytest.mark.parametrize(
    "failure",
    [TransientError("later"), FatalError("no scope", code="auth0-scope-missing", hint="grant it")],
)
def test_a_failure_is_raised_where_profiles_are_needed(failure: PollerError) -> None:
    bench = Bench("a")
    cached = CachedProfiles(
        bench.directory, bench.failures.append, is_needed=True, monotonic=lambda: bench.now
    )
    bench.directory.failure = failure
    for _ in range(2):
        with pytest.raises(type(failure)):
            cached.of(["a"])
    bench.directory.failure = None
    assert set(cached.of(["a"])) == {"a"}


def test_a_profile_never_gives_way_to_one_that_was_asked_for_earlier() -> None:
    """Another thread asks for the same user while a request of this thread is under way."""

    class Slow(Directory):
        def of(self, user_ids: Sequence[str]) -> Profiles:
            asked = len(self.asked)
            self.asked.append(tuple(user_ids))
            if asked == 0:
                bench.now += 1
                newer.update(bench.cached.of(user_ids))
            return {
                "a": Profile(
                    user_id="a", read_at=NOW, fields={"name": "old" if asked == 0 else "new"}
                )
            }

    newer: dict[str, Profile] = {}
    bench = Bench()
    bench.cached = CachedProfiles(Slow(), bench.failures.append, monotonic=lambda: bench.now)
    assert bench.cached.of(["a"])["a"].fields == {"name": "new"}
    assert bench.cached.of(["a"]) == newer
