"""The claims of pipelines to their streams. A folder of them is tested in `tests/cli`."""

import threading
from contextlib import ExitStack

from poller.core.errors import FatalError, PollerError
from poller.service.pipelines.claims import StreamClaims
from tests.fakes import STREAM


def refuse(name: str, first: str) -> FatalError:
    return FatalError(f"{first} comes before {name}", code="settings-invalid", hint="look")


def test_no_pipeline_opens_while_the_files_are_read_again() -> None:
    """The pipeline b takes the stream over from a. It must not look before a has given it up."""
    claims, opened, refused = StreamClaims(refuse, lambda _: None), list[str](), list[str]()
    with claims.changing(lambda: {"a": STREAM, "b": STREAM}):
        pass

    def hold() -> None:
        try:
            with claims.held(STREAM, "b", lambda: None):
                opened.append("b")
        except PollerError as error:
            refused.append(str(error))

    with ExitStack() as stack:
        thread = threading.Thread(target=hold)
        stack.callback(thread.join)
        with claims.changing(lambda: {"b": STREAM}):
            thread.start()
            thread.join(0.1)  # without the lock, it looks now. A slow machine hides that at worst
    assert (opened, refused) == (["b"], [])
