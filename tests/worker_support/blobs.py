"""Builds what an action is made of, blob by blob, in a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from remex_core.digest import SHA256
from remex_core.proto import reapi, worker
from remex_core.store import ops
from remex_core.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from remex_core.digest import DigestFunction, Key
    from remex_core.store.contract import Store

Tree = Mapping[str, "bytes | str | Tree | Executable"]
"""Names to what is there: bytes are a file, a string is a symlink's target, another a directory."""


@dataclass(frozen=True, slots=True)
class Executable:
    """A file with the executable bit."""

    content: bytes


@dataclass(slots=True)
class Blobs:
    """A CAS, and what puts messages and trees into it."""

    store: Store = field(default_factory=lambda: MemoryStore(256 * 1024 * 1024))
    function: DigestFunction = SHA256

    async def put(self, data: bytes) -> reapi.Digest:
        """Stores a blob; the empty one is not stored, since everybody has it."""
        key = self.function.key_of(data)
        if data:
            await ops.write_bytes(self.store, key, data)
        return reapi.Digest(hash=key.hash, size_bytes=key.size)

    async def put_message(self, message: Message) -> reapi.Digest:
        """Stores a serialised message."""
        return await self.put(message.SerializeToString(deterministic=True))

    async def put_tree(self, tree: Tree) -> reapi.Digest:
        """Stores a directory with all that is in it."""
        return await self.put_message(await self.directory(tree))

    async def directory(self, tree: Tree) -> reapi.Directory:
        """The Directory of a tree; what is in it is stored, it is not."""
        message = reapi.Directory()
        for name, entry in sorted(tree.items()):
            if isinstance(entry, str):
                message.symlinks.add(name=name, target=entry)
            elif isinstance(entry, bytes):
                message.files.add(name=name, digest=await self.put(entry))
            elif isinstance(entry, Executable):
                digest = await self.put(entry.content)
                message.files.add(name=name, digest=digest, is_executable=True)
            else:
                message.directories.add(name=name, digest=await self.put_tree(entry))
        return message

    async def put_action(
        self,
        *argv: str,
        tree: Tree | None = None,
        env: Mapping[str, str] | None = None,
        output_paths: Sequence[str] = (),
        output_files: Sequence[str] = (),
        output_directories: Sequence[str] = (),
        working_directory: str = "",
        directory_format: reapi.Command.OutputDirectoryFormat = reapi.Command.TREE_ONLY,
    ) -> reapi.Digest:
        """Stores an action with its command and inputs."""
        command = reapi.Command(
            arguments=argv,
            environment_variables=[
                reapi.Command.EnvironmentVariable(name=name, value=value)
                for name, value in sorted((env or {"PATH": "/bin:/usr/bin"}).items())
            ],
            output_paths=output_paths,
            output_files=output_files,
            output_directories=output_directories,
            working_directory=working_directory,
            output_directory_format=directory_format,
        )
        return await self.put_message(
            reapi.Action(
                command_digest=await self.put_message(command),
                input_root_digest=await self.put_tree(tree or {}),
            )
        )

    def key(self, digest: reapi.Digest) -> Key:
        """The key of a digest."""
        return self.function.empty_key._replace(hash=digest.hash, size=digest.size_bytes)

    async def get(self, digest: reapi.Digest) -> bytes:
        """The content behind a digest."""
        if not digest.size_bytes:
            return b""
        return await ops.read_all(self.store, self.key(digest), max_bytes=2**30)

    async def get_tree(self, digest: reapi.Digest) -> Tree:
        """The content behind the digest of a Tree message."""
        message = reapi.Tree.FromString(await self.get(digest))
        children = {
            self.function.key_of(child.SerializeToString(deterministic=True)): child
            for child in message.children
        }
        return await self._expand(message.root, children)

    async def _expand(
        self, directory: reapi.Directory, children: Mapping[Key, reapi.Directory]
    ) -> Tree:
        tree: dict[str, bytes | str | Tree | Executable] = {
            link.name: link.target for link in directory.symlinks
        }
        for file in directory.files:
            content = await self.get(file.digest)
            tree[file.name] = Executable(content) if file.is_executable else content
        for child in directory.directories:
            tree[child.name] = await self._expand(children[self.key(child.digest)], children)
        return tree


def lease(action: reapi.Digest, /, **fields: object) -> worker.Lease:
    """A lease of an action, queued at the time 1,000."""
    values: dict[str, object] = {
        "lease_id": f"lease-{action.hash[:8]}",
        "attempt": worker.Attempt(group=f"group-{action.hash[:8]}", number=1, epoch=1),
        "digest_function": "sha256",
        "action_hash": action.hash,
        "action_size_bytes": action.size_bytes,
        "queued_at": Timestamp(seconds=1000),
    }
    return worker.Lease(**(values | fields))  # type: ignore[arg-type]
