"""A small program of many parts, and the steps that build it: C where there is a compiler.

59 sources are compiled one by one and then joined by one last step, so that a build has 60
actions of which 59 can run side by side. The program prints a number that each part adds to.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS: Final = range(1, 59)
_COMPILERS: Final = ("cc", "gcc", "clang")


@dataclass(frozen=True, slots=True)
class Step:
    """One action: a command that makes the file `output`.

    `sources` are files it reads, by path; `needs` are outputs of earlier steps that it reads.
    """

    output: str
    argv: tuple[str, ...]
    sources: Mapping[str, bytes] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """What is built. `compiles` have no order among them, `link` needs them all.

    `runner` is put before the path of the linked program to run it; it then prints `prints`.
    """

    language: str
    compiles: tuple[Step, ...]
    link: Step
    runner: tuple[str, ...]
    prints: str

    @property
    def steps(self) -> tuple[Step, ...]:
        """All actions, in an order in which they can run."""
        return (*self.compiles, self.link)


def program() -> Program:
    """The program in C where this machine has a C compiler, else in Python."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    return in_python(sys.executable) if compiler is None else in_c(compiler)


def in_c(compiler: str) -> Program:
    """The program in C; `compiler` is the compiler's path."""
    header = "".join(f"int part{n}(void);\n" for n in _PARTS).encode()
    calls = " + ".join(f"part{n}()" for n in _PARTS)
    main = (
        '#include <stdio.h>\n#include "parts.h"\n'
        f'int main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
    )
    sources = {
        f"part{n}": f'#include "parts.h"\nint part{n}(void) {{ return {n}; }}\n' for n in _PARTS
    }
    sources["main"] = main
    compiles = tuple(
        Step(
            output=f"{name}.o",
            argv=(compiler, "-O1", "-c", f"{name}.c", "-o", f"{name}.o"),
            sources={f"{name}.c": text.encode(), "parts.h": header},
        )
        for name, text in sources.items()
    )
    objects = tuple(step.output for step in compiles)
    link = Step(output="program", argv=(compiler, *objects, "-o", "program"), needs=objects)
    return Program("C", compiles, link, (), f"{sum(_PARTS)}\n")


def in_python(interpreter: str) -> Program:
    """The program in Python, compiled to bytecode and zipped; `interpreter` is Python's path."""
    imports = "".join(f"import part{n}\n" for n in _PARTS)
    values = " + ".join(f"part{n}.VALUE" for n in _PARTS)
    sources = {f"part{n}": f"VALUE = {n}\n" for n in _PARTS}
    sources["__main__"] = f"{imports}print({values})\n"
    compile_one = (
        "import sys, py_compile as p; "
        "p.compile(sys.argv[1], sys.argv[2], doraise=True, "
        "invalidation_mode=p.PycInvalidationMode.UNCHECKED_HASH)"
    )
    compiles = tuple(
        Step(
            output=f"{name}.pyc",
            argv=(interpreter, "-c", compile_one, f"{name}.py", f"{name}.pyc"),
            sources={f"{name}.py": text.encode()},
        )
        for name, text in sources.items()
    )
    compiled = tuple(step.output for step in compiles)
    link = Step(
        output="program.pyz",
        argv=(interpreter, "-m", "zipfile", "-c", "program.pyz", *compiled),
        needs=compiled,
    )
    return Program("Python", compiles, link, (interpreter,), f"{sum(_PARTS)}\n")
