"""What one process will do: the flags and the configuration, made into one and complete."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remex_core.config.load import load_data, load_file
from remex_core.errors import ConfigError
from remex_core.server.flags import Role, data_directory, default_config
from remex_core.worker.properties import QueryCommand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from remex_core.config.model import Config, QueryCommandConfig
    from remex_core.plugins.registry import Registry
    from remex_core.server.flags import Flags

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ListenAddresses:
    """Where a process listens; an empty address means not at all."""

    public: str
    worker_api: str
    http: str


@dataclass(frozen=True, slots=True)
class Settings:
    """One process, decided. `properties` are the worker's, `notes` what a user should read."""

    roles: frozenset[Role]
    config: Config
    data_dir: Path
    listen: ListenAddresses
    scheduler: str
    worker_name: str
    slots: int
    properties: Mapping[str, Sequence[str] | QueryCommand]
    transport: str
    notes: tuple[str, ...] = ()


def resolve(flags: Flags, plugins: Registry) -> Settings:
    """The settings of a process with these flags.

    Raises:
        ConfigError: if the configuration is wrong, or a role lacks an address that it needs.
    """
    config = _configured(flags, plugins)
    scheduler = flags.scheduler or config.worker.scheduler or ""
    if Role.WORKER in flags.roles and Role.SCHEDULER not in flags.roles and not scheduler:
        raise ConfigError(
            "A worker needs a scheduler, and this process has none.",
            hint="Give the address of its worker API: --scheduler grpc://HOST:8981, "
            "or worker.scheduler in the configuration.",
        )
    properties: dict[str, Sequence[str] | QueryCommand] = {
        name: _values(value) for name, value in config.worker.properties.items()
    }
    for name, value in flags.properties:
        properties[name] = [*_given(properties, name, flags), value]
    return Settings(
        roles=flags.roles,
        config=config,
        data_dir=data_directory(flags),
        listen=_listen(flags, config),
        scheduler=scheduler,
        worker_name=flags.name or config.worker.name or socket.gethostname(),
        slots=flags.slots or config.worker.slots or os.cpu_count() or 1,
        properties=properties,
        transport=plugins.transport(flags.transport or "").name,
        notes=_notes(flags, plugins),
    )


def _configured(flags: Flags, plugins: Registry) -> Config:
    """The file's configuration, with default stores where it names none that the roles need."""
    if flags.config is None:
        return load_data(default_config(flags, plugins.stores), plugins)
    config = load_file(flags.config, plugins)
    lacks_stores = bool(flags.roles & {Role.CAS, Role.SCHEDULER}) and not config.stores
    lacks_own = (
        Role.WORKER in flags.roles and Role.CAS not in flags.roles and config.worker.store is None
    )
    if not (lacks_stores or lacks_own):
        for flag, value in (("--cas", flags.cas), ("--max-bytes", flags.max_bytes)):
            if value is not None:
                raise ConfigError(
                    f"{flag} has no effect beside {flags.config}, which says itself what is stored "
                    f"where.",
                    hint=f"Leave {flag} out, or change the stores in {flags.config}.",
                )
        return config
    defaults = load_data(default_config(flags, plugins.stores), plugins)
    if lacks_stores:
        config = config.model_copy(update={"stores": defaults.stores})
    if lacks_own:
        worker = config.worker.model_copy(update={"store": defaults.worker.store})
        config = config.model_copy(update={"worker": worker})
    return config


def _listen(flags: Flags, config: Config) -> ListenAddresses:
    """Addresses by flag, configuration and role; a lone worker has none unless asked."""
    has_scheduler = Role.SCHEDULER in flags.roles
    serves = has_scheduler or Role.CAS in flags.roles
    base = 8980 if has_scheduler else 8970
    given = config.listen

    def pick(flag: str | None, configured: str | None, port: int | None) -> str:
        return flag or configured or (f"{_LOOPBACK}:{port}" if port else "")

    return ListenAddresses(
        public=pick(flags.listen, given.public, base) if serves else "",
        worker_api=pick(flags.worker_listen, given.worker_api, 8981) if has_scheduler else "",
        http=pick(flags.http_listen, given.http, base + 2 if serves else None),
    )


def _values(value: str | list[str] | QueryCommandConfig) -> Sequence[str] | QueryCommand:
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else QueryCommand(value.query_cmd)


def _given(
    properties: Mapping[str, Sequence[str] | QueryCommand], name: str, flags: Flags
) -> Sequence[str]:
    """The values that the flags gave so far; the first flag of a name replaces the file's."""
    known = properties.get(name, ())
    flagged = {value for other, value in flags.properties if other == name}
    return [] if isinstance(known, QueryCommand) else [each for each in known if each in flagged]


def _notes(flags: Flags, plugins: Registry) -> tuple[str, ...]:
    if flags.config is None and "filesystem" not in plugins.stores and Role.CAS in flags.roles:
        return ("everything is kept in memory; for a disk: pip install 'remex-core[standard]'",)
    return ()
