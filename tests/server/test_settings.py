"""Flags and a configuration, made into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.errors import ConfigError
from remex_core.plugins.registry import load_registry
from remex_core.server.flags import Flags, Role
from remex_core.server.settings import resolve

if TYPE_CHECKING:
    from pathlib import Path

ALL = "127.0.0.1:8980", "127.0.0.1:8981", "127.0.0.1:8982"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "remex.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (frozenset(Role), ALL),
        (frozenset({Role.SCHEDULER}), ALL),
        (frozenset({Role.CAS}), ("127.0.0.1:8970", "", "127.0.0.1:8972")),
        (frozenset({Role.WORKER}), ("", "", "")),
    ],
)
def test_default_addresses(
    roles: frozenset[Role], expected: tuple[str, str, str], tmp_path: Path
) -> None:
    """Each role has the documented addresses, on loopback; a lone worker has none."""
    flags = Flags(roles=roles, data_dir=tmp_path, cas="grpc://h:1", scheduler="grpc://h:2")
    listen = resolve(flags, load_registry()).listen
    assert expected == (listen.public, listen.worker_api, listen.http)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    """An address, a name and a property by flag replace those of the file."""
    path = _file(
        tmp_path,
        "version: 1\nlisten: {public: '127.0.0.1:1'}\n"
        "worker: {name: file, slots: 7, properties: {Pool: small, OSFamily: linux}}\n",
    )
    settings = resolve(
        Flags(
            config=path,
            data_dir=tmp_path,
            listen="127.0.0.1:2",
            name="flag",
            properties=(("Pool", "large"),),
        ),
        load_registry(),
    )
    assert "127.0.0.1:2" == settings.listen.public
    assert ("flag", 7) == (settings.worker_name, settings.slots)
    assert {"Pool": ["large"], "OSFamily": ["linux"]} == settings.properties


def test_file_without_stores_gets_the_default_ones(tmp_path: Path) -> None:
    """A file that says nothing of stores leaves them as they are without a file."""
    path = _file(tmp_path, "version: 1\nscheduler: {max_attempts: 2}\n")
    settings = resolve(Flags(config=path, data_dir=tmp_path), load_registry())
    assert {"cas", "ac"} == set(settings.config.stores)
    assert 2 == settings.config.scheduler.max_attempts


@pytest.mark.parametrize("flag", ["cas", "max_bytes"])
def test_flag_that_the_stores_of_a_file_leave_without_effect(flag: str, tmp_path: Path) -> None:
    """A flag about stores beside a file that has its own is refused, not ignored."""
    path = _file(tmp_path, "version: 1\nstores: {cas: noop, ac: noop}\n")
    with pytest.raises(ConfigError, match="no effect"):
        resolve(Flags(config=path, data_dir=tmp_path, **{flag: "1"}), load_registry())  # type: ignore[arg-type] # both take text


def test_worker_without_a_scheduler_says_what_to_give(tmp_path: Path) -> None:
    """A worker that knows no scheduler is refused with the flag that it needs."""
    flags = Flags(roles=frozenset({Role.WORKER}), data_dir=tmp_path, cas="grpc://h:1")
    with pytest.raises(ConfigError) as caught:
        resolve(flags, load_registry())
    assert "--scheduler grpc://" in caught.value.hint
