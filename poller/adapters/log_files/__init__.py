"""Files of log events: NDJSON and JSON arrays, plain or gzip, of API objects or log-stream envelopes."""

from poller.adapters.log_files.file import LogFile, Look
from poller.adapters.log_files.reading import Reading, Torn

__all__ = ["LogFile", "Look", "Reading", "Torn"]
