"""A logger plug-in for Snakemake 9: each event of a job is a line on stdout, the mark in SCFLOWS_MARK, then JSON.

Imported by the Python that has Snakemake, which need not have scflows.
"""

import json
import os
from logging import LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """The handler that Snakemake looks for."""

    def __post_init__(self) -> None:
        self._mark = os.environ.get("SCFLOWS_MARK", "")
        self._titles: dict[int, str] = {}

    def emit(self, record: LogRecord) -> None:
        """Report the events of jobs."""
        event, values = getattr(record, "event", None), record.__dict__
        if event == LogEvent.JOB_INFO:
            wildcards = dict(values.get("wildcards") or {})
            given = ",".join(f"{name}={value}" for name, value in wildcards.items())
            self._titles[values["jobid"]] = f"{values['rule_name']}({given})" if given else str(values["rule_name"])
            self._send("start", values["jobid"])
        elif event == LogEvent.JOB_FINISHED:
            self._send("success", values.get("job_id", values.get("jobid")))
        elif event == LogEvent.JOB_ERROR:
            self._send("failure", values.get("jobid", values.get("job_id")), str(values.get("exception") or ""))
        elif event == LogEvent.WORKFLOW_STARTED:
            self._write({"event": "began"})

    def _send(self, event: str, job: Any, message: str = "") -> None:
        text = " ".join(message.split())[:500]
        title = self._titles.get(job, f"job {job}")
        self._write({"event": event, "task": str(job), "title": title, "message": text})

    def _write(self, values: dict[str, str]) -> None:
        if self._mark:
            os.write(1, (self._mark + json.dumps(values) + "\n").encode())

    @property
    def writes_to_stream(self) -> bool:
        return False

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
