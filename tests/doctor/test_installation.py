"""The doctor's checks of what is installed and configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.doctor import installation
from remex_core.doctor.context import Context
from remex_core.plugins.loader import Plugin, Status
from remex_core.plugins.registry import Registry, load_registry

if TYPE_CHECKING:
    from pathlib import Path

BARE_CONFIG = """\
version: 1
stores:
  cas: {{ memory: {{ max_bytes: {size} }} }}
  ac: {{ memory: {{ max_bytes: 1MiB }} }}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    """What is installed here."""
    return load_registry()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.BROKEN, "fail"),
        (Status.INCOMPATIBLE, "fail"),
        (Status.SHADOWED, "warn"),
        (Status.DISABLED, "skip"),
    ],
)
def test_a_plugin_that_is_not_in_use_is_named_with_the_reason(
    status: Status, expected: str
) -> None:
    """Each status of a plugin means something else for whoever installed it."""
    registry = Registry(plugins=[Plugin("s3", "remex-s3", "1.0", status, "no module boto")])
    finding = installation.plugins(registry)[1]
    assert expected == finding.status
    assert f"s3 of remex-s3 is {status}: no module boto." == finding.message


def test_the_parts_that_most_sites_want_are_missed() -> None:
    """Without a filesystem store or a local executor the doctor says which line adds them."""
    remedies = [finding.remedy for finding in installation.plugins(Registry())[1:]]
    assert ["pip install remex-fs", "pip install remex-local-exec"] == remedies


def test_every_fault_of_a_configuration_is_a_finding(tmp_path: Path, registry: Registry) -> None:
    """Faults come one by one with their place; a valid file is ok."""
    file = tmp_path / "remex.yaml"
    file.write_text(BARE_CONFIG.format(size="much"))
    (finding,) = installation.configuration(file, registry)
    assert "fail" == finding.status
    assert f"{file}:3:" in finding.message
    file.write_text(BARE_CONFIG.format(size="1MiB"))
    assert ["ok"] == [each.status for each in installation.configuration(file, registry)]


def test_no_configuration_is_fine(registry: Registry) -> None:
    """serve needs none."""
    assert ["ok"] == [each.status for each in installation.configuration(None, registry)]


async def test_ports_are_not_looked_at_when_a_server_was_named(
    tmp_path: Path, registry: Registry
) -> None:
    """Whoever asks about a running server elsewhere starts none here."""
    context = Context(registry, tmp_path, cas="grpc://cas:8970", named=True)
    assert ["skip"] == [finding.status for finding in await installation.ports(context)]


async def test_a_link_is_really_made_where_the_data_would_be(
    tmp_path: Path, registry: Registry
) -> None:
    """Without a file, a store is tried on the disk of the data directory; nothing stays."""
    finding = await installation.link(Context(registry, tmp_path / "data"))
    assert "ok" == finding.status
    assert str(tmp_path) in finding.message
    assert [] == list(tmp_path.iterdir())


async def test_the_configured_store_is_the_one_that_links(
    tmp_path: Path, registry: Registry
) -> None:
    """With a file, its own store is tried: one in memory has no files to link."""
    file = tmp_path / "remex.yaml"
    file.write_text(BARE_CONFIG.format(size="1MiB"))
    finding = await installation.link(Context(registry, tmp_path, config=file))
    assert "skip" == finding.status
