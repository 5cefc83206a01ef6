"""The message for an answer that is not Segment's own."""

from functools import partial

from poller.adapters.http import answer_in_place_of

SERVICE = "Segment"
in_between = partial(answer_in_place_of, SERVICE)
