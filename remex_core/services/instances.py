"""Instances: which stores, functions and limits a request's instance name stands for.

Every service asks `Instances.resolve` first; a name it has seen costs one look-up. Content is
shared between instances as their stores are; action caches are kept apart by key space (INS-07).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from remex_core.digest import Key, ac_space
from remex_core.errors import InvalidArgument, UnknownInstance
from remex_core.resource_names import KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.digest import DigestFunctions
    from remex_core.store.contract import Store

MAX_NAME_LENGTH: Final = 256
_MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Instance:
    """What one instance name stands for.

    `max_batch_bytes` bounds the blobs of one batch call (CAS-10, CAS-21), `max_blob_bytes` one
    blob (0: no bound). `ac_updates` is whether clients may write the action cache; `executes`
    whether actions can be run.
    """

    name: str
    cas: Store
    ac: Store
    functions: DigestFunctions
    max_batch_bytes: int = 4_000_000
    max_blob_bytes: int = 0
    ac_updates: bool = True
    executes: bool = False

    def ac_key(self, action: Key) -> Key:
        """The key of an action's result in this instance's action cache (AC-04, INS-07)."""
        return Key(ac_space(self.name), action.function, action.hash, action.size)


class Instances:
    """Finds the instance of a request.

    Args:
        named: instances that are served under their own names.
        template: what every other name is served as, with that name; None refuses other names.
    """

    def __init__(self, named: Iterable[Instance] = (), *, template: Instance | None = None) -> None:
        self._named = {instance.name: instance for instance in named}
        self._template = template
        self._resolved: dict[str, Instance] = {}

    def resolve(self, name: str) -> Instance:
        """The instance called `name`; empty segments of the name do not count (INS-01, INS-05).

        Raises:
            InvalidArgument: if no instance can have this name (INS-02).
            UnknownInstance: if this server does not serve it (INS-03).
        """
        resolved = self._resolved.get(name)
        return resolved if resolved is not None else self._resolve(name)

    def _resolve(self, name: str) -> Instance:
        check_instance_name(name)
        plain = "/".join(segment for segment in name.split("/") if segment)
        instance = self._named.get(plain)
        if instance is None:
            if self._template is None:
                served = ", ".join(repr(known) for known in sorted(self._named))
                raise UnknownInstance(
                    f"There is no instance {plain!r} here; this server serves {served}.",
                    hint="Set the client's instance name, such as Bazel's --remote_instance_name.",
                )
            instance = replace(self._template, name=plain)
        if len(self._resolved) >= _MAX_REMEMBERED:
            self._resolved.clear()
        self._resolved[name] = instance
        return instance


def check_instance_name(name: str) -> None:
    """Raises InvalidArgument if no instance can have this name (INS-02)."""
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidArgument(
            f"The instance name {name[:40]!r}… has {len(name)} characters; "
            f"at most {MAX_NAME_LENGTH} are allowed."
        )
    if not name.isprintable():
        raise InvalidArgument(f"The instance name {name!r} contains a control character.")
    for segment in name.split("/"):
        if segment in KEYWORDS:
            raise InvalidArgument(
                f"The instance name {name!r} contains the segment {segment!r}, "
                f"which resource names reserve."
            )
