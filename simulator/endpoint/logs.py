"""Logs as lines of JSON: time, level, where, what, and whatever was given beside it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

_KNOWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """One line per record; a traceback is one string in it."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        told |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def configuration(level: str) -> dict[str, Any]:
    """For `logging.config`: everything to standard error."""
    names = ("cohort", "uvicorn", "uvicorn.error")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            **{name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False} for name in names},
            "uvicorn.access": {"handlers": [], "propagate": False},
        },
    }
