"""Threads that end with the process."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from poller.core.errors import TransientError


def start_thread(work: Callable[..., None], name: str, *arguments: Any) -> threading.Thread:
    """Do the work in a thread. Its log lines name the pipeline that this thread works for.

    Raises:
        TransientError: this machine has no room for one more thread.
    """
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work, *arguments), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python raises it for EAGAIN here
        raise TransientError("this machine cannot start a thread for now") from error
    return thread
