"""How log lines look: text for people, or one JSON object a line. Standard library alone.

No image is ever logged, and no query: see the middleware, which writes the access log.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, the traceback if any, and what the record carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, in ASCII."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def config(log_format: LogFormat, level: str) -> dict[str, Any]:
    """The configuration for `logging.config` and uvicorn: everything goes to standard error through one handler."""
    formatters: dict[str, dict[str, str]] = {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {"()": f"{__name__}.{JsonFormatter.__name__}"},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": formatters[log_format]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": level.upper()} for name in ("service", "uvicorn")},
    }
