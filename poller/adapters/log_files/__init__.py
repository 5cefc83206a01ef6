"""Files of log events.

A file holds NDJSON or a JSON array, plain or gzip. Its records are objects of the Management API,
or the envelopes of log streams, event buses and log stores around them.
"""

from poller.adapters.log_files.envelopes import by_expression, unwrapped
from poller.adapters.log_files.file import FileSummary, LogFile
from poller.adapters.log_files.marks import MarkIndex
from poller.adapters.log_files.reading import FileReading, Refusals

__all__ = [
    "FileReading",
    "FileSummary",
    "LogFile",
    "MarkIndex",
    "Refusals",
    "by_expression",
    "unwrapped",
]
