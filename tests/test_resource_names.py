"""The grammar of resource names, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remex_core.digest import BLAKE3, SHA256, Key
from remex_core.errors import InvalidArgument
from remex_core.resource_names import (
    KEYWORDS,
    ResourceName,
    blob_name,
    parse_read_name,
    parse_upload_name,
    read_name,
    upload_name,
)

HASH = "ab" * 32
UUID = "0f8c1b1e-6d0a-4c1c-9f6e-3a1d7a5b2c4d"

segments = st.text(min_size=1, max_size=8).filter(lambda s: "/" not in s and s not in KEYWORDS)
instances = st.lists(segments, max_size=3).map("/".join)
keys = st.builds(
    Key,
    st.just(""),
    st.sampled_from(["sha256", "blake3"]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(0, 2**63 - 1),
)


@given(instances, keys)
def test_names_say_what_they_were_made_of(instance: str, key: Key) -> None:
    """BSR-01, BSW-16: what is written as a name is read back from it, metadata or not."""
    function = "blake3" if key.function == "blake3" else ""
    expected = ResourceName(instance, "", function, key.hash, key.size)
    assert expected == parse_read_name(read_name(instance, key))
    name = upload_name(instance, UUID, key)
    assert expected == parse_upload_name(name)
    assert expected == parse_upload_name(f"{name}/blobs/uploads/x")


def _parse_or_refuse(name: str) -> None:
    for parse in (parse_read_name, parse_upload_name):
        try:
            parse(name)
        except InvalidArgument as error:
            assert "malformed" in error.message  # noqa: PT017 - either outcome is right


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(name: str) -> None:
    """GEN-13: no text makes the parser fail in another way than by InvalidArgument."""
    _parse_or_refuse(name)


@given(st.lists(st.sampled_from([*sorted(KEYWORDS), "blake3", "zstd", HASH, UUID, "1", ""])))
def test_any_order_of_known_segments_is_parsed_or_refused(parts: list[str]) -> None:
    """GEN-13: nor does any arrangement of the segments that mean something."""
    _parse_or_refuse("/".join(parts))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Key("", "sha256", HASH, 6), f"blobs/{HASH}/6"),
        (Key("", "blake3", HASH, 6), f"blobs/blake3/{HASH}/6"),
        (SHA256.empty_key, f"blobs/{SHA256.empty_hash}/0"),
        (BLAKE3.empty_key, f"blobs/blake3/{BLAKE3.empty_hash}/0"),
    ],
)
def test_name_without_an_instance(key: Key, expected: str) -> None:
    """EXE-13, DIG-13: no instance, no slash before it, a function only above number 7."""
    assert expected == blob_name(key)


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        (f"/blobs/{HASH}/1", ""),
        (f"a//b/blobs/{HASH}/1", "a//b"),
        (f"a/b/c/blobs/{HASH}/1", "a/b/c"),
    ],
)
def test_instance_ends_at_the_first_keyword(name: str, instance: str) -> None:
    """INS-05, BSR-01: what stands before the first keyword is the instance, empty segments too."""
    assert instance == parse_read_name(name).instance


@pytest.mark.parametrize("compressor", ["zstd", "deflate", "brotli"])
def test_compressor_is_read(compressor: str) -> None:
    """BSR-01: the compressor of a compressed name is told apart from the plain one."""
    expected = ResourceName("", compressor, "blake3", HASH, 1)
    assert expected == parse_read_name(f"compressed-blobs/{compressor}/blake3/{HASH}/1")
    name = f"uploads/{UUID}/compressed-blobs/{compressor}/blake3/{HASH}/1"
    assert expected == parse_upload_name(name)


@pytest.mark.parametrize(
    "size", ["", "-1", "+1", " 1", "1 ", "01", "00", "1e3", "\u0661", "9" * 19, "9" * 20]
)
def test_size_is_plain_decimal(size: str) -> None:
    """DIG-03: digits only, no sign, no leading zero, and no more than an int64."""
    with pytest.raises(InvalidArgument, match="size"):
        parse_read_name(f"blobs/{HASH}/{size}")


@pytest.mark.parametrize("size", ["0", "7", str(2**63 - 1)])
def test_size_up_to_int64(size: str) -> None:
    """DIG-03: every int64 that is not negative is a size."""
    assert int(size) == parse_read_name(f"blobs/{HASH}/{size}").size
