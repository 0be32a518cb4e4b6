"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import ConfigError
from remex_core.telemetry.logging import configure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("remex.test.quiet").setLevel(logging.NOTSET)


def written(setting: str) -> list[str]:
    """The lines that a process with this setting writes."""
    stream = io.StringIO()
    configure({"REMEX_LOG": setting}, stream=stream)
    log = logging.getLogger("remex.test")
    log.debug("detail")
    log.info("said %s", "so", extra={"fields": {"n": 1, "name": "a b", "empty": ""}})
    logging.getLogger("remex.test.quiet").info("quiet")
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError:
        log.exception("failed")
    return stream.getvalue().splitlines()


def test_a_console_line() -> None:
    """Time, level, sentence and fields; values that are not plain words are quoted."""
    first, second, *rest = written("")
    assert re.fullmatch(r'\d\d:\d\d:\d\d info    said so n=1 name="a b" empty=""', first)
    assert second.endswith("info    quiet")
    assert rest[0].endswith("error   failed")
    assert "ZeroDivisionError: why" == rest[-1]


def test_json_lines() -> None:
    """Each line is one object with its fields beside time, level, logger and message."""
    lines = [json.loads(line) for line in written("json,debug,remex.test.quiet=error")]
    assert ["detail", "said so", "failed"] == [line["message"] for line in lines]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", lines[0].pop("time"))
    assert {"level": "debug", "logger": "remex.test", "message": "detail"} == lines[0]
    assert (1, "a b") == (lines[1]["n"], lines[1]["name"])
    assert "ZeroDivisionError: why" in lines[2]["exception"]


def test_levels() -> None:
    """A bare level holds for everything, a pair for one logger."""
    assert [] == [line for line in written("error") if "info" in line]
    assert ["quiet"] == [line.split()[-1] for line in written("remex.test.quiet=info,error")][:1]


@pytest.mark.parametrize("setting", ["loud", "remex.rpc=loud", "json=", "=debug=x"])
def test_settings_that_cannot_be_understood(setting: str) -> None:
    """A bad setting is an error that lists what can be set."""
    with pytest.raises(ConfigError, match="REMEX_LOG") as raised:
        configure({"REMEX_LOG": setting}, stream=io.StringIO())
    assert "debug, info, warning, error" in raised.value.hint
