"""Who may import whom: the layers of the house, read from the sources."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parents[1]
CORE: Final = "remex_core"
PLUGINS: Final = sorted(project.parent for project in ROOT.glob("plugins/*/pyproject.toml"))

MACHINE: Final = (
    *("events", "commands", "state", "policy", "options", "policies", "guards", "invariants"),
    *("agenda", "dispatch", "explain", "fleet", "groups", "operations", "shapes", "workers"),
)
"""The scheduler's pure machine; the rest of the scheduler is the shell around it."""

LAYERS: Final[Sequence[Sequence[str]]] = (
    ("digest", "errors", "clock", "platform", "proto", "resource_names"),
    (
        "store.contract",
        "store.ops",
        *(f"scheduler.{name}" for name in MACHINE),
        "scheduler.journal",
        "worker.executor",
        "wire.methods",
        "wire.call",
        "wire.transport",
    ),
    ("plugins", "plugin"),
    ("store", "config", "telemetry", "auth", "wire"),
    ("client", "services", "web", "worker", "scheduler"),
    ("server",),
    ("testing", "doctor", "demo", "bench"),
    ("cli", "__main__"),
)
"""Each may import itself and what stands above it here; the longest name that fits counts."""

ONLY_IN: Final = {
    "grpc": ("remex_core.wire.grpc_aio", "remex_core.bench.bare", "remex_core.proto"),
    "ruamel": ("remex_core.config",),
    "opentelemetry.sdk": ("remex_core.telemetry",),
    "opentelemetry.exporter": ("remex_core.telemetry",),
}
"""Which modules may import a library that everybody else does without."""


def _modules(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "_generated" not in parts:
            yield ".".join(parts).removesuffix(".__init__"), path


@cache
def _imports(path: Path) -> Sequence[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, wherever it does so."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert node.module is not None
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def _layer(module: str) -> int | None:
    """The layer of a module of the core; None for what stands outside of them."""
    name = module.removeprefix(f"{CORE}.")
    fitting = [
        (len(prefix), number)
        for number, layer in enumerate(LAYERS)
        for prefix in layer
        if f"{name}.".startswith(f"{prefix}.")
    ]
    return max(fitting)[1] if fitting else None


def _is_or_is_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


MODULES: Final = dict(_modules(ROOT, CORE))


def test_every_module_has_a_layer() -> None:
    """A new module says where it belongs."""
    assert [] == [name for name in MODULES if name != CORE and _layer(name) is None]


def test_modules_import_their_own_layer_and_those_below() -> None:
    """Also for annotations and inside functions: nothing depends on what is built upon it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in MODULES.items()
        if (own := _layer(module)) is not None
        for line, imported in _imports(path)
        if _is_or_is_in(imported, CORE) and (other := _layer(imported)) is not None and other > own
    ]
    assert [] == wrong


@pytest.mark.parametrize("library", ONLY_IN)
def test_some_libraries_have_one_home(library: str) -> None:
    """What could be replaced one day is imported in one place."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in MODULES.items()
        if not any(_is_or_is_in(module, home) for home in ONLY_IN[library])
        for line, imported in _imports(path)
        if _is_or_is_in(imported, library)
    ]
    assert [] == wrong


def test_time_is_read_in_one_place() -> None:
    """Whoever needs the time takes a clock, which tests can hold in their hands."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in MODULES.items()
        if module != "remex_core.clock"
        for line, imported in _imports(path)
        if imported in {"time", "time.time", "time.monotonic", "time.monotonic_ns", "time.time_ns"}
    ]
    assert [] == wrong


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_import_the_public_api_alone(plugin: Path) -> None:
    """Nothing else of the core is promised to stay."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for _, path in _modules(plugin / "src", ".")
        for line, imported in _imports(path)
        if _is_or_is_in(imported, CORE) and not _is_or_is_in(imported, "remex_core.plugin")
    ]
    assert [] == wrong
