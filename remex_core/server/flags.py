"""What `remex serve` can be told on its command line, and the configuration that follows.

Without a file every role works from flags alone: the flags become the same data that a
`remex.yaml` would hold, so there is one way through validation and one way to build things.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remex_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

MIB = 1024**2
GIB = 1024**3


class Role(StrEnum):
    """What one process does."""

    CAS = "cas"
    SCHEDULER = "scheduler"
    WORKER = "worker"


ALL_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line of `remex serve`; None or empty means: not given."""

    roles: frozenset[Role] = ALL_ROLES
    config: Path | None = None
    listen: str | None = None
    worker_listen: str | None = None
    http_listen: str | None = None
    data_dir: Path | None = None
    max_bytes: str | None = None
    cas: str | None = None
    scheduler: str | None = None
    name: str | None = None
    slots: int | None = None
    properties: tuple[tuple[str, str], ...] = ()
    plugins: tuple[Path, ...] = ()
    transport: str | None = None


def parse_roles(names: Collection[str]) -> frozenset[Role]:
    """The roles that `--role` names, each once or more; `all`, or none, stands for every role.

    Raises:
        ConfigError: if there is no such role.
    """
    known = {role.value for role in Role}
    for name in names:
        if name not in {*known, "all"}:
            raise ConfigError(
                f"There is no role {name!r}.", hint=f"There are: all, {', '.join(sorted(known))}."
            )
    if not names or "all" in names:
        return ALL_ROLES
    return frozenset(Role(name) for name in names)


def data_directory(flags: Flags) -> Path:
    """Where this process keeps its state: the flag, or a place that fits the user.

    root has /var/lib/remex, everybody else $XDG_DATA_HOME/remex.
    """
    if flags.data_dir is not None:
        return flags.data_dir.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/remex")
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local/share") / "remex"


def default_max_bytes(data_dir: Path) -> int:
    """The smaller of 50 GiB and a fifth of the free space where the data will lie, in bytes.

    Never 0: a disk that is full, or none at all, is for the store to complain about.
    """
    place = data_dir
    while not place.exists():
        place = place.parent
    return max(MIB, min(50 * GIB, shutil.disk_usage(place).free // 5))


def parse_property(text: str) -> tuple[str, str]:
    """Reads `K=V`.

    Raises:
        ConfigError: if there is no `=` or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"--property takes NAME=VALUE, not {text!r}.",
            hint="For example: --property OSFamily=linux --property Pool=large",
        )
    return name, value


def default_config(flags: Flags, store_kinds: Collection[str]) -> dict[str, Any]:
    """The configuration of a process that was given no file.

    `store_kinds` are the kinds that are installed: without `filesystem` everything is kept in
    memory. The scheduler role forwards CAS and AC to `flags.cas` unless it has the cas role
    beside it; a worker reads through a local copy of what it fetched.

    Raises:
        ConfigError: if a role lacks the address of one that it needs.
    """
    _check_addresses(flags)
    data_dir = data_directory(flags)
    config: dict[str, Any] = {"version": 1, "stores": {}}
    if Role.CAS in flags.roles:
        config["stores"] = _own_stores(flags, data_dir, store_kinds)
    elif Role.SCHEDULER in flags.roles:
        upstream = {"grpc": {"address": flags.cas}}
        config["stores"] = {"cas": upstream, "ac": upstream}
    if Role.WORKER in flags.roles and Role.CAS not in flags.roles:
        config["worker"] = {"store": _worker_store(flags, data_dir, store_kinds)}
    return config


def _check_addresses(flags: Flags) -> None:
    if Role.CAS not in flags.roles and flags.cas is None:
        raise ConfigError(
            f"This process has no cas, which a {' and a '.join(sorted(flags.roles))} needs.",
            hint="Give its address with --cas grpc://HOST:PORT, or serve one here with --role cas.",
        )


def _own_stores(flags: Flags, data_dir: Path, kinds: Collection[str]) -> dict[str, Any]:
    def place(name: str, share: float) -> dict[str, Any]:
        if "filesystem" not in kinds:
            return {"memory": {"max_bytes": flags.max_bytes or "1GiB"}}
        limit = flags.max_bytes or int(default_max_bytes(data_dir) * share)
        return {"filesystem": {"path": str(data_dir / name), "max_bytes": limit}}

    return {
        "cas": place("cas", 1.0),
        "ac": {"completeness_checking": {"cas": {"ref": "cas"}, "backend": place("ac", 0.02)}},
    }


def _worker_store(flags: Flags, data_dir: Path, kinds: Collection[str]) -> dict[str, Any]:
    remote = {"grpc": {"address": flags.cas}}
    if "filesystem" not in kinds:
        return remote
    limit = flags.max_bytes or default_max_bytes(data_dir)
    local = {"filesystem": {"path": str(data_dir / "cas"), "max_bytes": limit}}
    return {"fast_slow": {"fast": local, "fast_direction": "get", "slow": remote}}
