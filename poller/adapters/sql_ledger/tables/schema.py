"""The tables of a ledger. To change one, add a step to `sqlite.migration_steps`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Text,
    UniqueConstraint,
)

from poller.adapters.sql_ledger.tables.column_types import (
    Number,
    PlainText,
    UtcText,
    fence,
    log_id,
    stream_id,
)
from poller.adapters.sql_ledger.tables.table_kinds import keyed_table, table

version = table("ledger_version", Column("version", Integer, nullable=False))
metadata = version.metadata

# A tenant and a Segment source. Everything else belongs to a stream.
stream = table(
    "stream",
    Column("id", Number, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("backfilled_until", log_id()),  # by a backfill before the first start
    Column("begun_after", log_id()),  # the lowest place at which the daemon was to begin
    Column("acknowledged_since", UtcText),  # since then acknowledged messages are counted
    Column("resent_after", log_id()),  # the part (after, until] that `set-position` let the
    Column("resent_until", log_id()),  # daemon read and send again
    Column("last_fence", Number, nullable=False, server_default="0"),  # of the newest owner
    UniqueConstraint("domain", "source_name", "generation"),
)

# The names in the message ids of the events above a position, where they are not the stream's own.
names_in_ids = keyed_table(
    "names_in_ids",
    stream_id(is_key=True),
    Column("after", log_id(), primary_key=True),
    Column("source_name", Text, nullable=False),
    Column("generation", Text, nullable=False),
)

# A part of the log in which every event of interest is settled.
span = table(
    "span",
    Column("id", Number, primary_key=True),
    stream_id(),
    Column("after", log_id(), nullable=False),
    Column("reached", log_id(), nullable=False),
    Column("until", log_id()),
    Column("confirmed", log_id(), nullable=False),
    Column("drained_at", UtcText),
    # A slice of the daemon's catch-up. It is false for the live span and for a backfill's slices.
    Column("is_catch_up", Boolean(create_constraint=False), nullable=False, server_default="0"),
    fence(),
    CheckConstraint("reached >= after", name="span_moves_up"),
    CheckConstraint("reached <= until", name="span_stays_in_bound"),
    CheckConstraint("confirmed <= reached", name="span_confirms_what_it_reached"),
    CheckConstraint("confirmed >= after", name="span_confirms_its_own"),
)
# The option `postgresql_where` would load that dialect here. `postgres.tables` adds it.
one_live_span = Index(
    "one_live_span", span.c.stream_id, unique=True, sqlite_where=span.c.until.is_(None)
)

# A part of the log that retention removed before it was read.
gap = table(
    "gap",
    Column("id", Number, primary_key=True),
    stream_id(),
    Column("after", log_id(), nullable=False),
    Column("before", log_id(), nullable=False),
    Column("noticed_at", UtcText, nullable=False),
    Column("is_read_once", Boolean(create_constraint=False), nullable=False),
    UniqueConstraint("stream_id", "after", "is_read_once"),
)

# A part `(reached, until]` that a second reading still has to read, outside of any span.
unread_stretch = table(
    "unread_stretch",
    Column("id", Number, primary_key=True),
    stream_id(),
    Column("reached", log_id(), nullable=False),
    Column("until", log_id(), nullable=False),
    fence(),
    CheckConstraint("reached < until", name="unread_stretch_is_not_empty"),
)

# An event that could never be sent.
dead_letter = table(
    "dead_letter",
    Column("id", Number, primary_key=True),
    stream_id(),
    Column("log_id", log_id(), nullable=False),
    Column("type", PlainText, nullable=False),
    Column("reason", PlainText, nullable=False),
    Column("status", Integer),
    Column("event", Text, nullable=False),  # JSON, as Auth0 sent it: personal data
    Column("dead_lettered_at", UtcText, nullable=False),
    UniqueConstraint("stream_id", "log_id"),
    # This index holds all that a list shows. An event may fill many pages of the file.
    Index(
        "dead_letter_in_order",
        "log_id",
        "stream_id",
        "type",
        "reason",
        "status",
        "dead_lettered_at",
    ),
    Index("dead_letter_by_age", "stream_id", "dead_lettered_at"),
)

# An event of interest that is settled and that a second reading reads again.
recent_id = keyed_table(
    "recent_id",
    stream_id(is_key=True),
    Column("log_id", log_id(), primary_key=True),
)

# A fingerprint of what Segment was told last about a user or a membership.
last_sent = keyed_table(
    "last_sent",
    stream_id(is_key=True),
    Column("key", Text, primary_key=True),  # a hash of whom it is about
    Column("fingerprint", Text, nullable=False),
    Column("sent_at", UtcText, nullable=False),
    Index("last_sent_by_age", "stream_id", "sent_at"),
)

# A user whose tracks a backfill sent, and who needs an identify at its end.
pending_identify = keyed_table(
    "pending_identify",
    stream_id(is_key=True),
    Column("user_id", PlainText, primary_key=True),  # Auth0's id, which is personal data
    Column("sent_as", PlainText, primary_key=True),  # the id under which Segment knows the user
    Column("log_id", log_id(), nullable=False),
    Column("queued_at", UtcText, nullable=False),
    # Set by a slice of a catch-up, whose identifies the daemon sends.
    Column("is_catch_up", Boolean(create_constraint=False), nullable=False, server_default="0"),
    Column("owner", Text, nullable=False, server_default="backfill"),  # "run" or "backfill"
    fence(),
)

# The routes of a settings file from a change on, and what the change left behind: see `routing`.
routing = table(
    "routing",
    Column("id", Number, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("file", Text, nullable=False),  # the name of the settings file
    Column("after", log_id()),
    Column("routes", Text, nullable=False),  # JSON, as all columns below
    Column("unread", Text, nullable=False),
    Column("read_again", Text, nullable=False),
    Column("settled", Text, nullable=False),
    Column("former", Text, nullable=False),
    Index("routing_of_file", "domain", "file"),
)

# A part that is read once more: a gap that can be read after all, or a resend.
revisit = table(
    "revisit",
    Column("id", Number, primary_key=True),
    stream_id(),
    Column("after", log_id(), nullable=False),
    Column("reached", log_id(), nullable=False),
    Column("until", log_id(), nullable=False),
    Column("kind", Text, nullable=False),
    fence(),
    CheckConstraint("reached >= after", name="revisit_moves_up"),
    CheckConstraint("reached <= until", name="revisit_stays_in_bound"),
)

# How far a file of log events is settled.
file_mark = keyed_table(
    "file_mark",
    stream_id(is_key=True),
    Column("content_hash", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),  # bytes of the uncompressed content
    Column("line", BigInteger, nullable=False),
    Column("settled_at", UtcText, nullable=False),
)

# The number of events of an hour, by type, outcome and origin.
hourly_event_count = keyed_table(
    "hourly_event_count",
    stream_id(is_key=True),
    Column("hour", UtcText, primary_key=True),
    Column("type", PlainText, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("origin", Text, primary_key=True),  # "log" or "file", since one event may come from both
    Column("events", Number, nullable=False),
)

# The number of tracks that were sent for the events of an hour.
hourly_track_count = keyed_table(
    "hourly_track_count",
    stream_id(is_key=True),
    Column("hour", UtcText, primary_key=True),
    Column("type", PlainText, primary_key=True),
    Column("track_name", PlainText, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("tracks", Number, nullable=False),
)

# The number of messages that Segment acknowledged in an hour of its clock.
hourly_acknowledged_count = keyed_table(
    "hourly_acknowledged_count",
    stream_id(is_key=True),
    Column("hour", UtcText, primary_key=True),
    Column("kind", Text, primary_key=True),  # "identify", "track" or "group"
    Column("event", PlainText, primary_key=True),  # the name of a track, else empty
    Column("sending", Text, primary_key=True),  # `FIRST` and others in core.counts
    Column("messages", Number, nullable=False),
)

# The number of events and of dead letters, over all time. Triggers keep both: see `totals`.
event_total = keyed_table(
    "event_total",
    stream_id(is_key=True),
    Column("outcome", Text, primary_key=True),
    Column("events", Number, nullable=False),
)

dead_letter_total = keyed_table(
    "dead_letter_total",
    stream_id(is_key=True),
    Column("reason", PlainText, primary_key=True),
    Column("dead_letters", Number, nullable=False),
)

# How the daemon fares, for `status`.
daemon_status = table(
    "daemon_status",
    stream_id(is_key=True),
    Column("cycle_at", UtcText),
    Column("cycle_error", PlainText),
    Column("blocked_since", UtcText),
    Column("blocked_reason", PlainText),
    Column("blocked_hint", PlainText),
    Column("blocked_code", PlainText),
    Column("catch_up_since", UtcText),  # by the clock of Auth0
    Column("catch_up_error", PlainText),
)

# The fatal error that ended the daemon of a stream, which the ledger may not hold yet.
fatal_exit = keyed_table(
    "fatal_exit",
    *(Column(name, Text, primary_key=True) for name in ("domain", "source_name", "generation")),
    Column("at", UtcText, nullable=False),
    Column("code", PlainText, nullable=False),
    Column("error", PlainText, nullable=False),
    Column("hint", PlainText, nullable=False),
)

key_check = keyed_table(
    "key_check",
    Column("key_hash", Text, primary_key=True),
    Column("state", Text, nullable=False),  # "proved" or "unpublished"
    Column("checked_at", UtcText, nullable=False),
)

# The last alert of each kind, and what of the kind is not told yet.
alert_memory = keyed_table(
    "alert_memory",
    stream_id(is_key=True),
    Column("kind", Text, primary_key=True),
    Column("since", UtcText),
    Column("number", Number, nullable=False),
    Column("detail", PlainText, nullable=False),
    Column("section", Text, nullable=False),
    Column("is_told", Boolean(create_constraint=False), nullable=False),
    Column("told_at", UtcText),
    Column("held_back", Number, nullable=False),
    Column("mark", Text, nullable=False),
)

# An alert that waits to be sent to one target.
queued_alert = keyed_table(
    "queued_alert",
    stream_id(is_key=True),
    Column("number", Number, primary_key=True),
    Column("target", Text, nullable=False),  # a hash of the URL
    Column("kind", Text, nullable=False),
    Column("title", PlainText, nullable=False),
    Column("body", PlainText, nullable=False),
    Column("severity", Text, nullable=False),
    Column("attempts", Number, nullable=False),
    Column("due_at", UtcText, nullable=False),
    Column("dropped", Number, nullable=False),
)
