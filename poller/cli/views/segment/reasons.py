"""Segment's reasons for dropping a message, in plain words, each with what to do.

The codes are from Segment's docs (Delivery Overview: discard reasons).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """The meaning of a code, and the remedy."""

    meaning: str
    remedy: str


MISSING = Reason(
    meaning="Segment acknowledged them, and its source has no trace of them",
    remedy="run `check`. A wrong write key, another region and suppressed users leave no trace. If "
    "the write key was wrong, `ledger key was-wrong` sends that time again",
)
_BUG = "this is a mistake of this program: please report it with the code"
_RULE = "change the tracking plan, or the event: `preview` marks what the plan refuses"
_SEND_AGAIN = "then send that time again: `backfill --since TIME --until TIME --again`"
_REASONS = {
    "source_disabled": Reason(
        meaning="the source was disabled",
        remedy=f"enable it in Segment: Connections > Sources > your source > Settings, "
        f"{_SEND_AGAIN}",
    ),
    "locked_workspace": Reason(
        meaning="the workspace was locked, as after a limit or an unpaid bill",
        remedy=f"ask the owner of the workspace, {_SEND_AGAIN}",
    ),
    "event_setting": Reason(
        meaning="the event is switched off in the source",
        remedy=f"switch it on in Segment: your source > Schema, {_SEND_AGAIN}",
    ),
    "unplanned": Reason(
        meaning="the tracking plan does not have the event, and blocks what it does not have",
        remedy=f"add the event to the plan, or set `events.preset` to the plan's names, "
        f"{_SEND_AGAIN}",
    ),
    "schema_violation": Reason(
        meaning="a property or trait breaks the rule of the event in the tracking plan",
        remedy=_RULE,
    ),
    "common_schema_violation": Reason(
        meaning="a field breaks the rule for all events in the tracking plan", remedy=_RULE
    ),
    "unplanned_and_schema_violation": Reason(
        meaning="the event is not in the tracking plan, and breaks a rule", remedy=_RULE
    ),
    "multi_user_error": Reason(
        meaning="some messages of a batch failed, and Segment published only the others",
        remedy="look at the messages with Segment's source debugger, and report what they hold",
    ),
    "no_user_anon_id": Reason(meaning="the message names no user", remedy=_BUG),
    "id_required": Reason(meaning="an id is missing, or is too long", remedy=_BUG),
    "id_not_string": Reason(meaning="an id is no text", remedy=_BUG),
    "event_not_defined": Reason(meaning="the track has no name", remedy=_BUG),
    "event_not_string": Reason(meaning="the name of the track is no text", remedy=_BUG),
    "properties_not_object": Reason(meaning="the properties are no object", remedy=_BUG),
    "traits_not_object": Reason(meaning="the traits are no object", remedy=_BUG),
    "bad_request": Reason(meaning="Segment could not read the request", remedy=_BUG),
    "empty_batch": Reason(meaning="the batch was empty", remedy=_BUG),
    "empty_batch_result": Reason(meaning="nothing of the batch was usable", remedy=_BUG),
}
_CONSENT = Reason(
    meaning="the source enforces consent, and the message holds none",
    remedy="switch the enforcement off for this source: a server cannot ask for consent",
)


def reason_of(code: str) -> Reason:
    """Return the words for a code of Segment's."""
    if code.startswith("consent_"):
        return _CONSENT
    unknown = Reason(
        meaning=f"Segment dropped them for the reason `{code}`",
        remedy="look at the delivery overview of the source in Segment",
    )
    return _REASONS.get(code, unknown)
