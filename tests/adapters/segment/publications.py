"""Published settings of a Segment source."""

from poller.adapters.segment.settings_cdn import PublishedSettings

NOTHING = PublishedSettings(
    host="api.segment.io",
    enabled_events=frozenset({"__default"}),
    disabled_events=frozenset(),
    blocks_unplanned_events=False,
    blocks_identify=False,
    blocks_group=False,
    destinations=(),
)
