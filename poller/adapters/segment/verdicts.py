"""The message for an answer that is not Segment's own."""

from poller.adapters.http import Answer

SERVICE = "Segment"


def in_between(answer: Answer) -> str:
    """Say that a proxy, a portal or a firewall answered in Segment's place."""
    return f"something between here and Segment answered: {answer.form}"
