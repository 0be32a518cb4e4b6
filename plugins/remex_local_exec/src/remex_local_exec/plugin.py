"""What remex loads: the descriptor of the kind `local` and its options."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping  # noqa: TC003 - pydantic reads the annotation
from typing import Any, Final

from remex_core.plugin import (
    Account,
    ConfigError,
    Executor,
    ExecutorContext,
    ExecutorType,
    Spec,
    hookimpl,
)
from remex_local_exec.executor import LocalExecutor

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LocalSpec(Spec):
    """Options of the kind `local`.

    `path` is the PATH of commands that bring none. `environment` has further variables for every
    command; what a command brings itself wins. `user` is the name or number of the user whose
    rights commands get, which needs a worker that runs as root; None for the worker's own.
    """

    path: str = DEFAULT_PATH
    environment: Mapping[str, str] = {}
    user: str | int | None = None


async def _build(spec: LocalSpec, ctx: ExecutorContext) -> Executor:
    environment = {"PATH": spec.path, **spec.environment}
    account = None if spec.user is None else find_account(spec.user)
    return LocalExecutor(ctx.runner, ctx.work_root, environment, account)


def find_account(user: str | int) -> Account:
    """The ids of a user, with all its groups.

    Raises:
        ConfigError: if there is no such user, or this process may not act for it.
    """
    name = str(user)
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError as error:
        raise ConfigError(
            f"The local executor is to run actions as {name}, but this machine has no such user.",
            hint="Create it, as with `useradd --system remex-actions`, or name another one.",
        ) from error
    if os.geteuid() != 0:
        raise ConfigError(
            f"The local executor is to run actions as {name}, which only a worker that runs as "
            f"root can do.",
            hint="Start the worker as root, or leave `user` out.",
        )
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_uid, entry.pw_gid, tuple(groups))


LOCAL: Final = ExecutorType(
    name="local",
    spec=LocalSpec,
    build=_build,
    summary="processes of the worker's own machine",
)


@hookimpl
def remex_executors() -> Iterable[ExecutorType[Any]]:
    """The kind that this plugin adds."""
    return [LOCAL]
