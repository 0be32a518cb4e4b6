"""Putting outputs into an ActionResult itself, for clients that ask for them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.errors import MalformedDigest
from remex_core.services.blobs import read_blobs
from remex_core.services.frames import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from remex_core.digest import Key, KeyMaker
    from remex_core.proto import reapi
    from remex_core.store.contract import Store

_MAX_BYTES: Final = MAX_RESPONSE_BYTES - 256 * 1024
"""What a result may have with all that was put into it; the rest is for what travels around it."""

_FIELD_BYTES: Final = 16
"""What one inlined value costs beside its bytes, at most."""


async def inline_outputs(
    cas: Store,
    maker: KeyMaker,
    request: reapi.GetActionResultRequest | reapi.ExecuteRequest,
    result: reapi.ActionResult,
) -> None:
    """Puts into `result` what the request wants inlined, as long as it stays below 4 MiB.

    stdout comes first, then stderr, then output files. What does not fit or cannot be read stays
    out, as does a path that is no output; the digests stay in any case (AC-06, AC-07, EXE-32).
    """
    places: list[tuple[reapi.ActionResult | reapi.OutputFile, str, reapi.Digest]] = []
    if request.inline_stdout:
        places.append((result, "stdout_raw", result.stdout_digest))
    if request.inline_stderr:
        places.append((result, "stderr_raw", result.stderr_digest))
    if request.inline_output_files:
        paths = frozenset(request.inline_output_files)
        places.extend(
            (file, "contents", file.digest) for file in result.output_files if file.path in paths
        )
    room = _MAX_BYTES - result.ByteSize()
    keys: list[Key | None] = []
    for _, _, digest in places:
        key = _key(maker, digest)
        if key is not None and key.size + _FIELD_BYTES > room:
            key = None
        if key is not None:
            room -= key.size + _FIELD_BYTES
        keys.append(key)
    values = await read_blobs(cas, [key for key in keys if key is not None], max_bytes=_MAX_BYTES)
    for (message, field, _), key in zip(places, keys, strict=True):
        value = values.get(key) if key is not None else None
        if isinstance(value, bytes):
            setattr(message, field, value)


def _key(maker: KeyMaker, digest: reapi.Digest) -> Key | None:
    try:
        return maker.key(digest.hash, digest.size_bytes)
    except MalformedDigest:
        return None
