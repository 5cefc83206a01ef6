"""The rules of alerts: what is told, and when. No clock, no ledger and no network is used here.

- A state, such as "blocked", is told once it has lasted long enough, and its end is told once.
- Events, such as dead letters, are collected for a while and told with their number.
- A kind is told at most once an hour. What comes in between is held back: a state that still lasts
  and events that came are told when the hour is over. A state that ended meanwhile is counted, and
  the next alert of its kind says how many there were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from poller.service.alerts.kinds import KINDS, Kind

PAUSE = timedelta(hours=1)
"""The time between two alerts of one kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A state that holds now, and its beginning. `section` is a more exact place in the runbook."""

    since: datetime
    detail: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """Events that are new. `detail` says more about them, and may hold `{number:,}`."""

    number: int
    detail: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one look.

    `conditions` has None for a state that does not hold, and no entry for one that is not known.
    """

    at: datetime
    conditions: Mapping[Kind, Condition | None] = field(default_factory=dict)
    occurrences: Mapping[Kind, Occurrence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The knowledge about one kind from earlier looks. It outlives the process.

    - `since` is the beginning of the state, or of the events that are not told yet.
    - `number` is how many events are not told yet.
    - `is_told` says that the state at hand was told.
    - `held_back` counts the states that ended untold since the last alert of the kind.
    - `mark` is for the code that finds the events: how far it has looked.
    """

    kind: Kind
    since: datetime | None = None
    number: int = 0
    detail: str = ""
    section: str = ""
    is_told: bool = False
    told_at: datetime | None = None
    held_back: int = 0
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Something to tell now. `memory` is the memory of its kind from before it was told."""

    memory: Memory
    at: datetime
    is_recovery: bool = False


Memories = Mapping[Kind, Memory]


def decide(memories: Memories, facts: Facts) -> tuple[dict[Kind, Memory], list[Telling]]:
    """Return the new memories, and what is to be told now."""
    decided: dict[Kind, Memory] = {}
    tellings: list[Telling] = []
    for kind, declared in KINDS.items():
        memory = memories.get(kind, Memory(kind=kind))
        rule = _decide_state if declared.is_state else _decide_events
        decided[kind], telling = rule(memory, facts)
        if telling is not None:
            tellings.append(telling)
    return decided, tellings


def _decide_state(memory: Memory, facts: Facts) -> tuple[Memory, Telling | None]:
    if memory.kind not in facts.conditions:
        return memory, None
    condition = facts.conditions[memory.kind]
    if condition is None:
        return _end_state(memory, facts.at)
    if memory.since is None:
        memory = replace(memory, since=condition.since)
    if memory.is_told:
        return memory, None
    memory = replace(memory, detail=condition.detail, section=condition.section)
    is_long = facts.at - condition.since >= KINDS[memory.kind].after
    if is_long:
        memory = replace(memory, number=1)  # from now on it counts, told or not
    return _tell(memory, facts.at) if is_long else (memory, None)


def _end_state(memory: Memory, at: datetime) -> tuple[Memory, Telling | None]:
    ended = replace(memory, since=None, number=0, detail="", section="", is_told=False)
    if memory.is_told:
        return ended, Telling(memory=memory, at=at, is_recovery=True)
    return replace(ended, held_back=memory.held_back + memory.number), None


def _decide_events(memory: Memory, facts: Facts) -> tuple[Memory, Telling | None]:
    new = facts.occurrences.get(memory.kind)
    if new is not None:
        memory = replace(
            memory,
            since=memory.since or facts.at,
            number=memory.number + new.number,
            detail=new.detail,
            section=new.section,
        )
    if memory.since is None or abs(facts.at - memory.since) < KINDS[memory.kind].after:
        return memory, None
    return _tell(memory, facts.at)


def _tell(memory: Memory, at: datetime) -> tuple[Memory, Telling | None]:
    # A clock may be set back. So an alert of the future holds none back for longer than the pause.
    if memory.told_at is not None and abs(at - memory.told_at) < PAUSE:
        return memory, None
    told = replace(memory, told_at=at, held_back=0)
    if KINDS[memory.kind].is_state:
        told = replace(told, is_told=True)
    else:
        told = replace(told, since=None, number=0, detail="", section="")
    return told, Telling(memory=memory, at=at)


def with_marks(memories: Memories, marks: Mapping[Kind, str]) -> Iterator[Memory]:
    """Yield the memories with these marks."""
    for kind, mark in marks.items():
        yield replace(memories.get(kind, Memory(kind=kind)), mark=mark)
