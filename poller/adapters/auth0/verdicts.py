"""The message for an answer that is not Auth0's own."""

from poller.adapters.http import Answer

SERVICE = "Auth0"


def in_between(answer: Answer) -> str:
    """Say that a proxy, a portal or a firewall answered in Auth0's place."""
    return f"something between here and Auth0 answered: {answer.form}"
