"""What an ActionResult must be before it is kept: well-formed, complete, without inlined bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from remex_core.errors import InvalidArgument, MalformedDigest
from remex_core.services.blobs import check_content
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.digest import KeyMaker
    from remex_core.proto import reapi
    from remex_core.store.contract import Store

_TIMESTAMPS: Final = (
    "queued_timestamp",
    "worker_start_timestamp",
    "input_fetch_start_timestamp",
    "input_fetch_completed_timestamp",
    "execution_start_timestamp",
    "execution_completed_timestamp",
    "output_upload_start_timestamp",
    "output_upload_completed_timestamp",
    "worker_completed_timestamp",
)


def check_action_result(maker: KeyMaker, result: reapi.ActionResult) -> None:
    """Raises InvalidArgument if a path or digest of the result breaks a rule (AC-10, AC-14)."""
    outputs = [file.path for file in result.output_files]
    _check_paths(outputs)
    # An output directory's path may be empty: it is then the working directory itself (OUT-17).
    outputs += [directory.path or "." for directory in result.output_directories]
    for links in (
        result.output_symlinks,
        result.output_file_symlinks,
        result.output_directory_symlinks,
    ):
        # The three lists repeat each other (OUT-18), so each is checked alone.
        _check_paths([*outputs, *(link.path for link in links)])
    for file in result.output_files:
        _check_digest(maker, file.digest, f"the output file {file.path!r}")
    for directory in result.output_directories:
        what = f"the output directory {directory.path!r}"
        has_root = directory.HasField("root_directory_digest")
        if has_root:
            _check_digest(maker, directory.root_directory_digest, what)
        if directory.HasField("tree_digest") or not has_root:
            _check_digest(maker, directory.tree_digest, what)
    if result.HasField("stdout_digest"):
        _check_digest(maker, result.stdout_digest, "stdout")
    if result.HasField("stderr_digest"):
        _check_digest(maker, result.stderr_digest, "stderr")


async def store_inlined(cas: Store, maker: KeyMaker, result: reapi.ActionResult) -> None:
    """Moves bytes that stand in the result into the CAS, leaving their digests (AC-15, AC-05).

    Raises:
        DigestMismatch: if the bytes are not what the digest beside them says.
        StoreFull: if the CAS cannot take them.
    """
    if result.stdout_raw:
        await _store(cas, maker, result.stdout_raw, result.stdout_digest)
        result.ClearField("stdout_raw")
    if result.stderr_raw:
        await _store(cas, maker, result.stderr_raw, result.stderr_digest)
        result.ClearField("stderr_raw")
    for file in result.output_files:
        if file.contents:
            await _store(cas, maker, file.contents, file.digest)
            file.ClearField("contents")


def fill_metadata(result: reapi.ActionResult, worker: str, now: float) -> None:
    """Gives a result without execution metadata some: `worker`, and `now` for all times (AC-13).

    `now` is in seconds since the epoch. Clients compute with all times once there is a worker.
    """
    if result.HasField("execution_metadata"):
        return
    moment = Timestamp()
    moment.FromMicroseconds(round(now * 1e6))
    metadata = result.execution_metadata
    metadata.worker = worker
    for name in _TIMESTAMPS:
        getattr(metadata, name).CopyFrom(moment)


async def _store(cas: Store, maker: KeyMaker, data: bytes, digest: reapi.Digest) -> None:
    """Stores `data` under `digest`, which is filled in if it is not set."""
    if digest.hash:
        key = maker.key(digest.hash, digest.size_bytes)
        check_content(key, data)
    else:
        key = maker.function.key_of(data)
        digest.hash, digest.size_bytes = key.hash, key.size
    await ops.write_bytes(cas, key, data)


def _check_paths(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if not path:
            raise InvalidArgument("The action result has an output with an empty path.")
        if path.startswith("/"):
            raise InvalidArgument(
                f"The output path {path!r} is absolute; "
                f"output paths are relative to the working directory."
            )
        if "\0" in path:
            raise InvalidArgument(f"The output path {path!r} contains a NUL character.")
        if path in seen:
            raise InvalidArgument(f"The output path {path!r} stands in the action result twice.")
        seen.add(path)


def _check_digest(maker: KeyMaker, digest: reapi.Digest, what: str) -> None:
    try:
        maker.key(digest.hash, digest.size_bytes)
    except MalformedDigest as error:
        raise MalformedDigest(f"The digest of {what}: {error.message}", hint=error.hint) from None
