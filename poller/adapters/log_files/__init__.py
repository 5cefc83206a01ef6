"""Files of log events: NDJSON and JSON arrays, plain or gzip, of API objects or log-stream envelopes."""

from poller.adapters.log_files.file import FileSummary, LogFile
from poller.adapters.log_files.marks import MarkIndex
from poller.adapters.log_files.reading import FileReading, Refusals

__all__ = ["FileReading", "FileSummary", "LogFile", "MarkIndex", "Refusals"]
