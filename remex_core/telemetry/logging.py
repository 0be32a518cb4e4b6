"""Log lines: for people on a console, or as JSON for machines.

Code logs through the standard library, with a sentence as the message and what varies in
`extra={"fields": {...}}`. `REMEX_LOG` says what is wanted, in parts joined by commas: a level, a
`logger=level` pair, `json` or `console`; such as `info,remex.rpc=debug,json`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from remex_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

VARIABLE: Final = "REMEX_LOG"
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(environment: Mapping[str, str] = os.environ, *, stream: TextIO | None = None) -> None:
    """Sends all log lines of the process to `stream` (default: standard error).

    Raises:
        ConfigError: if `REMEX_LOG` cannot be understood; nothing has changed then.
    """
    level = logging.INFO
    levels: dict[str, int] = {}
    formatter: logging.Formatter = ConsoleFormatter()
    for part in filter(None, map(str.strip, environment.get(VARIABLE, "").split(","))):
        logger, assigned, name = part.rpartition("=")
        if part == "json":
            formatter = JsonFormatter()
        elif part == "console":
            formatter = ConsoleFormatter()
        elif name.lower() not in _LEVELS:
            raise ConfigError(
                f"{VARIABLE} contains {part!r}, which is neither a level nor a format.",
                hint=f"Levels are {', '.join(_LEVELS)}; formats are console and json; "
                f"a single logger is set by logger=level, such as remex.rpc=debug.",
            )
        elif assigned:
            levels[logger] = _LEVELS[name.lower()]
        else:
            level = _LEVELS[name.lower()]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for logger, its_level in levels.items():
        logging.getLogger(logger).setLevel(its_level)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """Time, level, message and `field=value` pairs; a traceback on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        clock = _time(record).astimezone().strftime("%H:%M:%S")
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()}{fields}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _shown(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not {" ", '"', "="} & set(text)
    return text if plain else json.dumps(text, ensure_ascii=False)
