"""The findings of `check` from Segment's Public API: the source, its key and its plan."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from poller.adapters.segment.public_api import (
    AccessDeniedError,
    PublicApi,
    RequestRefusedError,
)
from poller.adapters.segment.tracking_plan import TrackingPlan
from poller.adapters.segment.workspace import ConnectedItem, Controls, SourceDetails
from poller.cli.checks import Finding
from poller.cli.segment_proof.access import has_write_key, public_api
from poller.cli.segment_proof.calls import calls_of, judge, newest_calls
from poller.cli.segment_proof.published import prove_by_cdn
from poller.cli.views.wording import counted
from poller.cli.wiring.services import Services, rules_of
from poller.config import Settings
from poller.config.regions import REGIONS, region_of
from poller.core.errors import PollerError
from poller.service.lifecycle.exit_codes import Severity

CALLS_JUDGED = 10
"""The number of newest events whose calls are judged. `preview` shows the same number."""


def prove_source(
    settings: Settings, services: Services, *, is_log_readable: bool
) -> Iterator[Finding]:
    """Check the source with the Public API, if there is a token, and then with the CDN."""
    proof = WorkspaceProof(settings=settings, services=services, is_log_readable=is_log_readable)
    yield from proof.findings()
    yield from prove_by_cdn(settings, is_key_decided=proof.is_key_decided)


@dataclass(slots=True, kw_only=True)
class WorkspaceProof:
    """A check of the workspace. `is_key_decided` says whether it proved or refuted the key."""

    settings: Settings
    services: Services
    is_log_readable: bool
    is_key_decided: bool = False

    def findings(self) -> Iterator[Finding]:
        """Check everything that the token may see. An outage of the API is not a fault."""
        try:
            with public_api(self.settings) as api:
                if api is not None:
                    yield from self._look(api)
        except RequestRefusedError as error:
            yield Finding(
                subject="api", text=str(error), hint=error.hint, severity=Severity.ATTENTION
            )
        except PollerError as error:
            yield Finding(subject="api", text=f"could not be asked now: {error}", is_open=True)

    def _look(self, api: PublicApi) -> Iterator[Finding]:
        workspace = api.workspace()
        yield Finding(subject="api", text=f"workspace {workspace.name}, by the token")
        yield from wrong_region_of_token(self.settings)
        source = yield from self._source(api)
        if source is None:
            return
        yield from self._state(source)
        yield from _outputs(api, source)
        yield from self._plan(api, source)

    def _source(self, api: PublicApi) -> Generator[Finding, None, SourceDetails | None]:
        wanted = self.settings.segment.source_id
        try:
            if wanted is not None:
                return api.source(wanted)
            return (yield from self._source_of_key(api))
        except AccessDeniedError:
            yield _lacks("Source Read-only", "the source cannot be looked at")
            return None

    def _source_of_key(self, api: PublicApi) -> Generator[Finding, None, SourceDetails | None]:
        """Find the source that has the write key. The key itself is not sent to the API."""
        sources = api.sources()
        own = next((source for source in sources if has_write_key(source, self.settings)), None)
        if own is not None:
            return api.source(own.id)
        if any(source.write_keys for source in sources):
            yield self._wrong_key("no source that the token may see has it")
        else:
            yield Finding(
                subject="source",
                text="not known: the token may not see write keys, which is well",
                hint="set segment.source_id to the id that stands in the URL of the source",
                severity=Severity.ATTENTION,
            )
        return None

    def _wrong_key(self, reason: str) -> Finding:
        self.is_key_decided = True
        return Finding(
            subject="key",
            text=f"segment.write_key is wrong: {reason}",
            hint="copy it in Segment from Connections > Sources > your source > Settings > "
            "API Keys",
            severity=Severity.UNUSABLE,
        )

    def _state(self, source: SourceDetails) -> Iterator[Finding]:
        if has_write_key(source, self.settings):
            self.is_key_decided = True
            yield Finding(subject="key", text=f"proved: it is of the source {source.name}")
        elif source.write_keys:
            yield self._wrong_key(f"the source {source.name} has another")
        if source.is_enabled:
            yield Finding(subject="source", text=f"{source.name}, enabled")
            return
        yield Finding(
            subject="source",
            text=f"{source.name} is disabled: Segment would answer 200 and drop every event",
            hint="enable it in Segment: Connections > Sources > your source > Settings",
            severity=Severity.UNUSABLE,
        )

    def _plan(self, api: PublicApi, source: SourceDetails) -> Iterator[Finding]:
        if not source.plan_id:
            yield Finding(subject="plan", text="the source has no tracking plan")
            return
        try:
            controls = api.controls(source.id)
            plan = TrackingPlan(api.rules(source.plan_id), controls)
        except AccessDeniedError:
            yield _lacks("Tracking Plan Read-only", "the tracking plan cannot be read")
            return
        events = counted(len(plan.events), "event")
        yield Finding(subject="plan", text=f"a rule for {events}, and {_strictness(controls)}")
        yield from self._judged_calls(plan)

    def _judged_calls(self, plan: TrackingPlan) -> Iterator[Finding]:
        names = rules_of(self.settings).track_names
        bare = [{"type": "track", "event": name, "messageId": ""} for name in names]
        # A bare call has no fields, so only a missing or unusable rule is a finding about it.
        unplanned = [
            each
            for each in judge(bare, plan, self.settings)
            if each.is_unplanned or each.effect == "unknown"
        ]
        calls = self._newest_calls()
        judged = judge(calls, plan, self.settings)
        hints = {str(each): each.hint for each in [*unplanned, *judged]}
        counts = Counter(str(each) for each in judged)
        for text, hint in hints.items():
            count = f" ({counts[text]} of the {len(calls)} newest calls)" if counts[text] else ""
            yield Finding(
                subject="calls", text=text + count, hint=hint, severity=Severity.ATTENTION
            )
        if calls and not judged:
            yield Finding(subject="calls", text=f"the plan lets the {len(calls)} newest pass")

    def _newest_calls(self) -> list[dict[str, Any]]:
        if not self.is_log_readable:
            return []
        try:
            newest = newest_calls(self.settings, self.services, CALLS_JUDGED)
        except PollerError:  # another finding tells about the log
            return []
        return [call for _, outcome in newest for call in calls_of(outcome)]


def wrong_region_of_token(settings: Settings) -> Iterator[Finding]:
    """Compare the region that accepted the token with the region of the endpoint."""
    api, endpoint = settings.segment.api_endpoint, settings.segment.endpoint
    theirs = next((region for region in REGIONS if region.public_api == api), None)
    ours = region_of(endpoint)
    if theirs and ours and theirs != ours:
        yield Finding(
            subject="region",
            text=f"the workspace is in the {theirs.name}, and segment.endpoint is not: every event "
            "would be dropped",
            hint=f'set segment.endpoint = "{theirs.tracking}"',
            severity=Severity.UNUSABLE,
        )


def _outputs(api: PublicApi, source: SourceDetails) -> Iterator[Finding]:
    try:
        connected = {
            "destinations": api.destinations(source.id),
            "warehouses": api.warehouses(source.id),
        }
    except AccessDeniedError:
        yield _lacks("Source Read-only", "its destinations cannot be read")
        return
    for name, connections in connected.items():
        text = f"{name}: {_names(connections)}"
        yield Finding(subject="outputs", text=text)


def _names(connections: Sequence[ConnectedItem]) -> str:
    names = [each.name if each.is_enabled else f"{each.name} (off)" for each in connections]
    return ", ".join(names) or "none"


def _lacks(role: str, text: str) -> Finding:
    return Finding(
        subject="api",
        text=f"{text}: the token lacks the role {role}",
        hint=f"give the token {role}, in Segment: Settings > Access Management > Tokens",
        severity=Severity.ATTENTION,
    )


def _strictness(controls: Controls) -> str:
    """Return in few words what the source does with calls that the plan does not allow."""
    track = controls.track
    words = [
        "unplanned events are blocked" if track.blocks_unplanned else "",
        "unplanned properties are dropped" if track.omits_unplanned_fields else "",
        "events that break a rule are blocked" if track.on_violation == "BLOCK" else "",
        "properties that break a rule are dropped" if track.on_violation == "OMIT" else "",
    ]
    return ", ".join(word for word in words if word) or "all tracks are allowed"
