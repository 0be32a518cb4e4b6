"""What the flags of `remex serve` become."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from remex_core.errors import ConfigError
from remex_core.server.flags import (
    ALL_ROLES,
    Flags,
    Role,
    data_directory,
    default_config,
    default_max_bytes,
    parse_property,
    parse_roles,
)

KINDS = ("memory", "filesystem")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ALL_ROLES),
        (("all",), ALL_ROLES),
        (("cas",), {Role.CAS}),
        (("cas", "scheduler"), {Role.CAS, Role.SCHEDULER}),
    ],
)
def test_roles(names: tuple[str, ...], expected: set[Role]) -> None:
    """No role, or `all`, stands for every role; others add up."""
    assert expected == parse_roles(names)


def test_unknown_role_is_refused() -> None:
    """A role that does not exist is an error that names those that do."""
    with pytest.raises(ConfigError) as caught:
        parse_roles(["cache"])
    assert "all, cas, scheduler, worker" in caught.value.hint


@pytest.mark.parametrize("text", ["Pool", "=large"])
def test_property_needs_a_name_and_a_value(text: str) -> None:
    """`--property` without NAME= is an error that shows how it is written."""
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_property(text)


def test_property_value_may_contain_equals() -> None:
    """Only the first `=` divides."""
    assert ("image", "a=b") == parse_property("image=a=b")


def test_one_process_has_stores_of_its_own(tmp_path: Path) -> None:
    """All roles in one process keep blobs and results on disk, and share the store."""
    config = default_config(Flags(data_dir=tmp_path), KINDS)
    assert str(tmp_path / "cas") == config["stores"]["cas"]["filesystem"]["path"]
    assert {"ref": "cas"} == config["stores"]["ac"]["completeness_checking"]["cas"]
    assert "worker" not in config


def test_without_the_filesystem_plugin_all_is_in_memory(tmp_path: Path) -> None:
    """The core alone serves a memory cache."""
    config = default_config(Flags(data_dir=tmp_path), ("memory",))
    assert ["memory"] == list(config["stores"]["cas"])


def test_lone_scheduler_forwards_to_the_cas(tmp_path: Path) -> None:
    """A scheduler without the cas role serves blobs and results from `--cas`."""
    flags = Flags(roles=frozenset({Role.SCHEDULER}), data_dir=tmp_path, cas="grpc://h:1")
    assert {"grpc": {"address": "grpc://h:1"}} == default_config(flags, KINDS)["stores"]["ac"]


def test_lone_worker_reads_through_a_local_copy(tmp_path: Path) -> None:
    """A worker alone caches what it fetches and writes straight to the cas."""
    flags = Flags(
        roles=frozenset({Role.WORKER}), data_dir=tmp_path, cas="grpc://h:1", scheduler="grpc://h:2"
    )
    store = default_config(flags, KINDS)["worker"]["store"]["fast_slow"]
    assert "get" == store["fast_direction"]
    assert {"grpc": {"address": "grpc://h:1"}} == store["slow"]


@pytest.mark.parametrize("role", [Role.SCHEDULER, Role.WORKER])
def test_role_without_a_cas_says_what_to_give(role: Role, tmp_path: Path) -> None:
    """A scheduler or worker that knows no cas is refused with the flag that it needs."""
    with pytest.raises(ConfigError) as caught:
        default_config(Flags(roles=frozenset({role}), data_dir=tmp_path), KINDS)
    assert f"which a {role} needs" in caught.value.message
    assert "--cas grpc://" in caught.value.hint


def test_a_full_disk_is_no_fault_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is free the default is still a size, so that the store says what is wrong."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: Mock(free=0))
    assert 1024**2 == default_max_bytes(Path("/"))


def test_data_directory_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users other than root have their state below $XDG_DATA_HOME."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere/data")
    assert Path("/somewhere/data/remex") == data_directory(Flags())


def test_data_directory_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """root has its state in /var/lib/remex."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Path("/var/lib/remex") == data_directory(Flags())
