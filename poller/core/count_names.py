"""The names of outcomes, origins and sendings under which the ledger counts."""

FILTERED = "filtered"
FORWARDED = "forwarded"
DEAD_LETTERED = "dead_lettered"
DISCARDED = "discarded"
"""Somebody discarded the dead letter. The event is counted. Its log id is not remembered."""
OUTCOMES = (FORWARDED, FILTERED, DEAD_LETTERED, DISCARDED)
LOG = "log"
FILE = "file"
"""The origins of an event. An event that was read from both counts once for each."""
FIRST = "first"
AGAIN = "again"
UNDATED = "undated"
UNDELIVERED = "undelivered"
"""The sendings of a message. Only a message of the first one must be in Segment's counts.

Segment drops a message whose id it has seen, and may leave such a message out of its counts. So
messages that were sent again are counted apart. So are undated ones, at whose time no two clocks
agreed. Undelivered ones went to a write key that was wrong, as somebody said later.
"""
