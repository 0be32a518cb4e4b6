"""Everything that is run on the sources: `nox` alone runs what a change must pass.

Dependencies stand in pyproject.toml and are only named here. Sessions need pip and nothing else;
tests whose tools are absent (Bazel, a compiler) skip and say so, unless CI is set.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PLUGINS = sorted(project.parent for project in ROOT.glob("plugins/*/pyproject.toml"))
DISTRIBUTIONS = [ROOT, *PLUGINS]


def _distribution(directory: Path) -> str:
    """The distribution's name, such as `remex-fs`."""
    name: str = nox.project.load_toml(directory / "pyproject.toml")["project"]["name"]
    return name


def _plugin_session(directory: Path) -> str:
    return f"plugin-{_distribution(directory).removeprefix('remex-')}"


nox.options.sessions = [
    "lint",
    "types",
    "protos",
    "tests",
    *map(_plugin_session, PLUGINS),
    "build",
    "demo",
    "e2e",
]


def _install_group(session: nox.Session, *groups: str) -> None:
    session.install(*nox.project.dependency_groups(PROJECT, *groups))


def _install_checkout(session: nox.Session, *groups: str) -> None:
    """The core and every first-party plugin, as they stand here, and the named groups."""
    editable = [argument for each in DISTRIBUTIONS for argument in ("-e", str(each))]
    session.install(*editable, *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style and format."""
    _install_group(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", "--diff")


@nox.session
def types(session: nox.Session) -> None:
    """Checks types, strictly in the packages; tests may leave their parameters unannotated."""
    _install_checkout(session, "types", "tests")
    packages = ["remex_core", *(plugin.name for plugin in PLUGINS)]
    session.run("mypy", *(argument for name in packages for argument in ("-p", name)))
    relaxed = ["--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls"]
    session.run("mypy", *relaxed, "noxfile.py", "conftest.py", "tests")
    for plugin in PLUGINS:
        session.run("mypy", *relaxed, str(plugin / "tests"))


@nox.session
def protos(session: nox.Session) -> None:
    """Regenerates the protocol's code and fails if that changes it; `-- --write` keeps it."""
    _install_group(session, "protos")
    check = [] if "--write" in session.posargs else ["--check"]
    session.run("python", "remex_core/proto/regenerate.py", *check)


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the tests of the core, two at a time."""
    _install_checkout(session, "tests")
    session.run("pytest", "-m", "not e2e and not nightly", "-n", "2", "tests", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Runs real processes and real clients, one test at a time."""
    _install_checkout(session, "tests")
    session.run("pytest", "-m", "e2e and not nightly", "tests", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Runs the tests that are too heavy for every change."""
    _install_checkout(session, "tests")
    session.run("pytest", "-m", "nightly", "tests", "plugins", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Runs `remex demo` as a user would: real processes, two builds, the second all cached."""
    session.install(*map(str, DISTRIBUTIONS))
    session.run("remex", "demo", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Builds the source distribution and the wheel of every distribution into `dist/`."""
    _install_group(session, "build")
    for directory in DISTRIBUTIONS:
        session.run("python", "-m", "build", "--outdir", str(ROOT / "dist"), str(directory))


def _add_plugin_session(plugin: Path) -> None:
    def plugin_alone(session: nox.Session) -> None:
        wheels = Path(session.create_tmp())
        for directory in (ROOT, plugin):
            session.run("pip", "wheel", "--no-deps", "-w", str(wheels), str(directory), silent=True)
        session.install(
            *map(str, wheels.glob("*.whl")), *nox.project.dependency_groups(PROJECT, "tests")
        )
        session.run("pytest", str(plugin / "tests"), *session.posargs)

    plugin_alone.__doc__ = f"Tests {_distribution(plugin)} alone, built and installed as a wheel."
    nox.session(name=_plugin_session(plugin))(plugin_alone)


for _plugin in PLUGINS:
    _add_plugin_session(_plugin)
