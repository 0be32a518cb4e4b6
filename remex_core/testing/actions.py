"""Actions made by hand, for the demo, the doctor, the benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remex_core.digest import SHA256
from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.digest import Key

PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action: a command, the files in its input root, and what it makes.

    `files` are by name, each as its bytes or as the digest of a blob that is in the CAS already;
    a name has no slash. `timeout` is in seconds, `salt` makes equal actions differ.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes | reapi.Digest] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": PATH})
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 0
    do_not_cache: bool = False
    salt: bytes = b""

    def prepare(self) -> PreparedAction:
        """The action's digest, and every blob that has to be in the CAS before it can run."""
        blobs: dict[Key, bytes] = {}

        def digest(data: bytes) -> reapi.Digest:
            key = SHA256.key_of(data)
            blobs[key] = data
            return reapi.Digest(hash=key.hash, size_bytes=key.size)

        root = reapi.Directory(
            files=[
                reapi.FileNode(
                    name=name, digest=digest(content) if isinstance(content, bytes) else content
                )
                for name, content in sorted(self.files.items())
            ]
        )
        platform = reapi.Platform(
            properties=[
                reapi.Platform.Property(name=name, value=value)
                for name, value in sorted(self.properties.items())
            ]
        )
        command = reapi.Command(
            arguments=self.argv,
            environment_variables=[
                reapi.Command.EnvironmentVariable(name=name, value=value)
                for name, value in sorted(self.environment.items())
            ],
            output_paths=sorted(self.outputs),
            platform=platform,
        )
        action = reapi.Action(
            command_digest=digest(command.SerializeToString(deterministic=True)),
            input_root_digest=digest(root.SerializeToString(deterministic=True)),
            do_not_cache=self.do_not_cache,
            salt=self.salt,
            platform=platform,
        )
        if self.timeout:
            action.timeout.seconds = self.timeout
        return PreparedAction(digest(action.SerializeToString(deterministic=True)), blobs)


@dataclass(frozen=True, slots=True)
class PreparedAction:
    """An action's digest, and the blobs that it is made of, without those that were digests."""

    digest: reapi.Digest
    blobs: Mapping[Key, bytes]
