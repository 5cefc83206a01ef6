"""The ledger's tables, and the steps from each version of them to the next."""

from collections.abc import Callable

import sqlalchemy as sa

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
streams = sa.Table(
    "stream",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("source_name", sa.Text, nullable=False),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("blocked_reason", sa.Text),
    sa.Column("blocked_hint", sa.Text),
    sa.Column("cycle_at", sa.Text),
    sa.Column("cycle_error", sa.Text),
    sa.UniqueConstraint("domain", "source_name", "generation"),
)
spans = sa.Table(
    "span",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("stream_id", sa.ForeignKey("stream.id"), nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("reached", sa.Text, nullable=False),
    sa.Column("until", sa.Text),
    sa.Column("confirmed", sa.Text),
    sa.Column("drained_at", sa.Text),
)
sa.Index(
    "one_live_span",
    spans.c.stream_id,
    unique=True,
    sqlite_where=spans.c.until.is_(None),
    postgresql_where=spans.c.until.is_(None),
)
gaps = sa.Table(
    "gap",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("stream_id", sa.ForeignKey("stream.id"), nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("found_at", sa.Text, nullable=False),
)
dead_letters = sa.Table(
    "dead_letter",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("stream_id", sa.ForeignKey("stream.id"), nullable=False),
    sa.Column("log_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("died_at", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.UniqueConstraint("stream_id", "log_id"),
)
recent_ids = sa.Table(
    "recent_id",
    metadata,
    sa.Column("stream_id", sa.ForeignKey("stream.id"), primary_key=True),
    sa.Column("log_id", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)
tallies = sa.Table(
    "tally",
    metadata,
    sa.Column("stream_id", sa.ForeignKey("stream.id"), primary_key=True),
    sa.Column("hour", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("events", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

Step = Callable[[sa.Connection], None]

STEPS: tuple[Step, ...] = (metadata.create_all,)
"""Step n takes a ledger of version n to n + 1; a step once released is never changed."""

VERSION = len(STEPS)
