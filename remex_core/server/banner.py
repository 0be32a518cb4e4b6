"""What `remex serve` prints when it is ready: what it serves, and the lines to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core import __version__
from remex_core.server.flags import Role
from remex_core.web.pages import bazelrc

if TYPE_CHECKING:
    from remex_core.server.node import Addresses
    from remex_core.server.settings import Settings


def banner(settings: Settings, addresses: Addresses) -> str:
    """The text of a process that is ready."""
    roles = ", ".join(role for role in Role if role in settings.roles)
    lines = [f"remex {__version__} serves: {roles}", f"  data      {settings.data_dir}"]
    if addresses.public:
        lines.append(f"  clients   grpc://{addresses.public}")
    if addresses.worker_api:
        lines.append(f"  workers   grpc://{addresses.worker_api}")
    if addresses.http:
        lines.append(f"  http      http://{addresses.http}/")
    if Role.WORKER in settings.roles:
        slots = f"{settings.slots} slot{'s' if settings.slots > 1 else ''}"
        lines.append(f"  worker    {settings.worker_name}, {slots}")
    lines += [f"  note      {note}" for note in settings.notes]
    if addresses.public:
        executes = Role.SCHEDULER in settings.roles
        lines += ["For Bazel, put this into .bazelrc:"]
        lines += [f"  {line}" for line in bazelrc(addresses.public, executes=executes)]
    return "\n".join(lines)
