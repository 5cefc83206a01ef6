"""Totals of events and of dead letters, so that `status` does not have to count a million rows.

Triggers of the database keep the totals. So no statement that changes a counted row can forget
to change its total as well. Each dialect has its own triggers.
"""

from sqlalchemy import Connection, select

from poller.adapters.sql_ledger.tables.schema import dead_letter_total, event_total


def events_by_outcome(connection: Connection, stream_id: int) -> dict[str, int]:
    """Return how many events of the stream had each outcome, over all time."""
    columns = event_total.c
    query = select(columns.outcome, columns.events).where(columns.stream_id == stream_id)
    return {outcome: int(events) for outcome, events in connection.execute(query)}


def dead_letters_by_reason(connection: Connection, stream_id: int) -> dict[str, int]:
    """Return how many dead letters of the stream there are now, by reason code in order."""
    columns = dead_letter_total.c
    query = (
        select(columns.reason, columns.dead_letters)
        .where(columns.stream_id == stream_id, columns.dead_letters > 0)
        .order_by(columns.reason)
    )
    return {reason: int(number) for reason, number in connection.execute(query)}
