"""The message for an answer that is not Auth0's own."""

from functools import partial

from poller.adapters.http import answer_in_place_of

SERVICE = "Auth0"
in_between = partial(answer_in_place_of, SERVICE)
