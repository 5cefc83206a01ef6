"""Files of log events: NDJSON and JSON arrays, plain or gzip, of API objects or log-stream envelopes."""

from poller.adapters.log_files.file import LogFile, Look
from poller.adapters.log_files.marks import MarkIndex
from poller.adapters.log_files.reading import Reading, Refusals

__all__ = ["LogFile", "Look", "MarkIndex", "Reading", "Refusals"]
