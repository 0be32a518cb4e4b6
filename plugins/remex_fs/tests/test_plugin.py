"""What the plugin registers, and what its options accept."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from remex_core.plugin import BatchIO, Content, LocalFiles, ops
from remex_core.testing.clocks import SYSTEM, Clock
from remex_fs.plugin import FILESYSTEM
from remex_fs.spec import FilesystemSpec

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Context:
    """What a store's build is given; this kind has no children."""

    data_dir: Path
    clock: Clock = SYSTEM
    content: Content = Content.CAS
    path: str = "stores.cas"

    async def child(self, name: str, node: object) -> Any:
        """No child."""
        raise NotImplementedError

    async def ref(self, name: str) -> Any:
        """No reference."""
        raise NotImplementedError

    async def connect(self, address: str) -> Any:
        """No server."""
        raise NotImplementedError


def test_entry_point_registers_the_kind() -> None:
    """The installed distribution brings the kind `filesystem`, and no other."""
    (entry,) = entry_points(group="remex.plugins.v1", name="fs")
    assert [FILESYSTEM] == list(entry.load().remex_stores())
    assert "filesystem" == FILESYSTEM.name


async def test_built_store_is_what_the_descriptor_says(tmp_path: Path) -> None:
    """The kind offers what its descriptor declares, and its keeper works."""
    spec = FILESYSTEM.spec.model_validate({"path": str(tmp_path / "store"), "max_bytes": "1MiB"})
    store = await FILESYSTEM.build(spec, Context(tmp_path))
    try:
        assert {BatchIO, LocalFiles} == FILESYSTEM.forwards
        assert None not in {ops.capability(store, wanted) for wanted in FILESYSTEM.forwards}
        assert FILESYSTEM.shared
    finally:
        await store.close()


def test_options_are_read_as_people_write_them() -> None:
    """Sizes and durations have units; what is not given has the documented default."""
    given = {"path": "/data", "max_bytes": "2KiB", "protect": {"hard": "1m"}}
    spec = FilesystemSpec.model_validate(given)
    assert (2048, 60.0, 10800.0) == (spec.max_bytes, spec.protect.hard, spec.protect.soft)
    assert ("process", 0.95, 0.90) == (spec.durability, spec.watermarks.high, spec.watermarks.low)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "path"),
        ({"path": "/data", "max_bytes": 0}, "max_bytes"),
        ({"path": "/data", "max_bytes": "much"}, "neither a number"),
        ({"path": "/data", "durability": "disk"}, "durability"),
        ({"path": "/data", "protect": {"hard": "1h", "soft": "1m"}}, "at least protect.hard"),
        ({"path": "/data", "watermarks": {"high": 0.5, "low": 0.6}}, "not be above"),
        ({"path": "/data", "watermarks": {"high": 1.5}}, "less than or equal to 1"),
        ({"path": "/data", "maxbytes": 1}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], what: str) -> None:
    """Each wrong option is a validation error that names it."""
    with pytest.raises(ValidationError) as told:
        FilesystemSpec.model_validate(options)
    assert what in str(told.value)
