"""A workspace whose actions say where they run and then wait until the test lets them go.

It makes "in the middle of a build" a state that a test can wait for, with no sleep to guess it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from e2e_support.workspace import write_workspace

PASSED = "passed"
# An action that nobody lets go, or whose worker was killed, ends by itself.
_LONGEST_WAIT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Gates:
    """A workspace of actions `gate-0`, `gate-1`, …, and the directory they share with the test."""

    root: Path
    names: tuple[str, ...]
    _shared: Path

    def started(self) -> dict[str, list[Path]]:
        """Return the working directory of each start of each gate, in order of starting."""
        return {
            name: [Path(line) for line in mark.read_text().splitlines()]
            for name in self.names
            if (mark := self._shared / name).exists()
        }

    def open(self) -> None:
        """Let every gate pass, now and later."""
        (self._shared / "open").touch()

    def results(self) -> dict[str, str]:
        """Return what each gate left as its output in `bazel-bin`."""
        return {name: (self.root / "bazel-bin" / name).read_text() for name in self.names}


def write_gates_workspace(directory: Path, *, gates: int) -> Gates:
    """Write a workspace with that many gates; its actions reach `directory` by absolute path."""
    shared = directory / "shared"
    shared.mkdir(parents=True)
    names = tuple(f"gate-{number}" for number in range(gates))
    build = "".join(_gate(name, shared) for name in names)
    return Gates(write_workspace(directory, {"BUILD": build}), names, shared)


def _gate(name: str, shared: Path) -> str:
    return dedent(f"""\
        genrule(
            name = "{name}-rule",
            outs = ["{name}"],
            cmd = "pwd -P >> {shared}/{name}; " +
                  "for _ in $$(seq {_LONGEST_WAIT_SECONDS * 20}); do " +
                  "  if [ -e {shared}/open ]; then echo {PASSED} > $@; exit 0; fi; sleep 0.05; " +
                  "done; exit 1",
        )
        """)
