"""`remex cas`: blobs there and back, and what it says when something is missing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from remex_core.testing.processes import free_address

if TYPE_CHECKING:
    from pathlib import Path

MISSING = f"{'0' * 64}/7"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: str


async def _cas(*arguments: str, stdin: bytes = b"") -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "remex_core", "cas", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(process.returncode, out, err.decode())


@pytest.mark.parametrize("size", [0, 5, 6_000_000])
async def test_what_was_put_comes_back(cas_url: str, tmp_path: Path, size: int) -> None:
    """put prints the digest with which get and stat find the blob, whatever its size."""
    file = tmp_path / "blob"
    data = b"remex" * (size // 5)
    file.write_bytes(data)
    put = await _cas("put", str(file), "--cas", cas_url)
    digest = f"{hashlib.sha256(data).hexdigest()}/{size}"
    assert f"{digest}  {file}\n" == put.out.decode()
    assert data == (await _cas("get", digest, "--cas", cas_url)).out
    copy = tmp_path / "copy"
    assert 0 == (await _cas("get", digest, "-o", str(copy), "--cas", cas_url)).code
    assert data == copy.read_bytes()
    assert 0 == (await _cas("stat", digest, "--cas", cas_url)).code


async def test_standard_input_can_be_put(cas_url: str) -> None:
    """`-` is what comes in, whatever bytes they are; another digest function is honoured."""
    put = await _cas("put", "-", "--function", "blake3", "--cas", cas_url, stdin=b"\xff\0")
    digest = put.out.decode().split()[0]
    got = await _cas("get", digest, "--function", "blake3", "--cas", cas_url)
    assert b"\xff\0" == got.out


async def test_a_missing_blob_is_not_found(cas_url: str, tmp_path: Path) -> None:
    """get exits with 6 and leaves no file; stat exits with 1 and says which is missing."""
    target = tmp_path / "target"
    got = await _cas("get", MISSING, "-o", str(target), "--cas", cas_url)
    assert 6 == got.code
    assert MISSING.split("/", maxsplit=1)[0] in got.err
    assert [] == list(tmp_path.iterdir())
    empty = f"{hashlib.sha256().hexdigest()}/0"
    told = await _cas("stat", MISSING, empty, "--json", "--cas", cas_url)
    assert 1 == told.code
    expected = {
        "schema": "remex.cas.stat.v1",
        "blobs": [{"digest": MISSING, "present": False}, {"digest": empty, "present": True}],
    }
    assert expected == json.loads(told.out)


@pytest.mark.parametrize("digest", ["abc", "abc/5", f"{'0' * 64}/-1", f"{'G' * 64}/1"])
async def test_what_is_no_digest_is_refused(cas_url: str, digest: str) -> None:
    """A malformed digest is an error of one line and never a traceback."""
    got = await _cas("get", digest, "--cas", cas_url)
    assert 1 == got.code
    assert got.err.startswith("remex: ")
    assert "Traceback" not in got.err


async def test_a_directory_cannot_be_put(cas_url: str, tmp_path: Path) -> None:
    """Only files are blobs."""
    put = await _cas("put", str(tmp_path), "--cas", cas_url)
    assert 1 == put.code
    assert f"{tmp_path} is no file." in put.err


async def test_nobody_there_is_unreachable() -> None:
    """An address where nobody answers exits with 5 and names the address."""
    address = free_address()
    stat = await _cas("stat", MISSING, "--cas", f"grpc://{address}")
    assert 5 == stat.code
    assert address in stat.err
