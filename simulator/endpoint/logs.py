"""Logs as lines of JSON: time, level, where, what, and whatever was given beside it."""

from __future__ import annotations

from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS


def configuration(level: str) -> dict[str, Any]:
    """For `logging.config`: everything to standard error; a traceback is one string in its line."""
    names = ("cohort", "uvicorn", "uvicorn.error")
    lines = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "fmt": ("levelname", "name", "message"),
        "timestamp": "time",
        "rename_fields": {"levelname": "level", "name": "logger", "message": "event", "exc_info": "traceback"},
        "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": lines},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            **{name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False} for name in names},
            "uvicorn.access": {"handlers": [], "propagate": False},
        },
    }
