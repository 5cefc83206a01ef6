"""The verdict on a run names what is wrong, and only that."""

from typing import Any

from poller.sandbox.auth0.entries import Entry, iso
from tests.sandbox.world import World


def calls(entry: Entry, **changes: Any) -> list[dict[str, Any]]:
    assert entry.user is not None
    name = {"s": "Logged In", "ss": "Signed Up"}[entry.type]
    common = {"userId": entry.user.user_id, "timestamp": iso(entry.date)}
    return [
        {"type": "identify", "messageId": f"i{entry.number}", "traits": {}, **common},
        {
            "type": "track",
            "messageId": f"t{entry.number}",
            "event": name,
            "properties": {},
            **common,
            **changes,
        },
    ]


def happen(world: World, *kinds: str) -> list[Entry]:
    return [world.sandbox.traffic.happen(kind)[0] for kind in kinds]


def test_a_good_run_has_no_findings(world: World) -> None:
    for entry in happen(world, "login", "w", "sso_login", "signup", "ssa"):
        if entry.type in {"s", "ss"}:
            world.batch(*calls(entry))
    found = world.sandbox.reconcile()
    assert (found.expected, found.delivered, found.identified) == (3, 3, 3)
    assert not any(found.shown()["counts"].values())


def test_an_event_that_did_not_arrive_is_lost(world: World) -> None:
    first, second = happen(world, "login", "login")
    world.batch(*calls(first))
    assert world.sandbox.reconcile().lost == (second.log_id,)
    assert world.sandbox.reconcile(above=second.log_id).lost == ()


def test_a_second_arrival_is_duplicated_under_another_id_and_resent_under_the_same(
    world: World,
) -> None:
    (entry,) = happen(world, "login")
    world.batch(*calls(entry))
    world.batch(*calls(entry))
    found = world.sandbox.reconcile()
    assert found.duplicated == ()
    assert set(found.resent) == {f"i{entry.number}", f"t{entry.number}"}
    world.batch(*calls(entry, messageId="other"))
    assert world.sandbox.reconcile().duplicated == (entry.log_id,)


def test_a_track_with_two_contents_is_altered_and_an_identify_is_not(world: World) -> None:
    (entry,) = happen(world, "login")
    identify, track = calls(entry)
    world.batch(identify, track)
    world.batch({**identify, "traits": {"login_count": 2}}, {**track, "properties": {"x": 1}})
    assert world.sandbox.reconcile().altered == (f"t{entry.number}",)


def test_a_track_before_its_identify_is_misordered(world: World) -> None:
    (entry,) = happen(world, "login")
    identify, track = calls(entry)
    world.batch(track, identify)
    assert world.sandbox.reconcile().misordered == (f"t{entry.number}",)


def test_a_track_that_nothing_explains_is_unexpected(world: World) -> None:
    (entry,) = happen(world, "login")
    world.batch(*calls(entry, timestamp="2020-01-01T00:00:00.000Z"))
    found = world.sandbox.reconcile()
    assert found.unexpected == (f"t{entry.number}",)
    assert found.lost == (entry.log_id,)


def test_a_call_that_failed_after_the_200_is_rejected_and_lost(world: World) -> None:
    (entry,) = happen(world, "login")
    world.batch(calls(entry)[0], {**calls(entry)[1], "event": ""})
    found = world.sandbox.reconcile()
    assert found.rejected == (f"t{entry.number}: event_not_defined",)
    assert found.lost == (entry.log_id,)


def test_records_that_cannot_become_a_call_are_not_expected(world: World) -> None:
    world.sandbox.tenant.append(
        [{"type": "s"}, {"type": "s", "user_id": "a", "date": "soon"}, None, 7]
    )
    assert world.sandbox.reconcile().expected == 0


def test_a_first_social_login_is_expected_to_become_a_signup_too(world: World) -> None:
    (entry,) = happen(world, "first_social_login")
    assert world.sandbox.reconcile().lost == (entry.log_id, entry.log_id)
    world.batch(*calls(entry))
    assert world.sandbox.reconcile().lost == (entry.log_id,)
    world.batch(calls(entry, event="Signed Up", messageId="signup")[1])
    found = world.sandbox.reconcile()
    assert (found.events, found.expected, found.delivered, found.lost) == (1, 2, 2, ())
