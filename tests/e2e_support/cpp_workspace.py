"""A C++ workspace of generated sources: libraries, a generator tool, a binary and tests."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING

from e2e_support.workspace import write_workspace

if TYPE_CHECKING:
    from pathlib import Path

FAILING_TEST = "//failing:wrong"
FAILING_TEST_OUTPUT = "expected 42, found 41"
_TABLE_SIZE = 16


@dataclass(frozen=True, slots=True)
class CppWorkspace:
    """A workspace, how many C++ sources it has, and what its binary `//app` must print."""

    root: Path
    sources: int
    printed: str

    @property
    def binary(self) -> Path:
        """Where Bazel leaves the built `//app`."""
        return self.root / "bazel-bin" / "app" / "app"


def write_cpp_workspace(
    directory: Path, *, libraries: int = 20, parts: int = 4, tests: int = 5
) -> CppWorkspace:
    """Write `libraries` libraries of `parts + 1` sources each, and all that is built on them.

    The libraries depend on each other as a binary tree. `//app` prints one number that every
    source has a share in. `//gen` holds a source that a tool, itself built from C++, generates.
    Each of the `tests` tests checks one library. `//failing:wrong` is manual, and fails.
    """
    totals: list[int] = []
    files: dict[str, str] = {}
    for library in range(libraries):
        parent = (library - 1) // 2 if library else None
        files.update(_library(library, parts, parent))
        own = sum(10 * library + part for part in range(parts))
        totals.append(own + (totals[parent] if parent is not None else 0))
    files.update(_generated())
    files.update(_application(libraries))
    files.update(_tests(totals[:tests]))
    files.update(_failing())
    return CppWorkspace(
        root=write_workspace(directory, files),
        sources=sum(name.endswith(".cc") for name in files),
        printed=f"{sum(totals) + sum(i * i for i in range(_TABLE_SIZE))}\n",
    )


def _library(number: int, parts: int, parent: int | None) -> dict[str, str]:
    name = f"lib{number}"
    terms = [f"{name}_part{part}()" for part in range(parts)]
    header = [*(f"int {term};" for term in terms), f"int {name}_total();"]
    includes = [f'#include "{name}/{name}.h"']
    deps = ""
    if parent is not None:
        terms.append(f"lib{parent}_total()")
        includes.append(f'#include "lib{parent}/lib{parent}.h"')
        deps = f'"//lib{parent}"'
    files = {
        f"{name}/part{part}.cc": (
            f'#include "{name}/{name}.h"\n'
            f"int {name}_part{part}() {{ return {10 * number + part}; }}\n"
        )
        for part in range(parts)
    }
    files[f"{name}/total.cc"] = "\n".join(
        [*includes, f"int {name}_total() {{ return {' + '.join(terms)}; }}", ""]
    )
    files[f"{name}/{name}.h"] = "\n".join(["#pragma once", *header, ""])
    files[f"{name}/BUILD"] = dedent(f"""\
        cc_library(
            name = "{name}",
            srcs = glob(["*.cc"]),
            hdrs = ["{name}.h"],
            visibility = ["//visibility:public"],
            deps = [{deps}],
        )
        """)
    return files


def _generated() -> dict[str, str]:
    return {
        "gen/squares.cc": dedent("""\
            #include <cstdio>
            #include <cstdlib>
            int main(int argc, char** argv) {
              if (argc != 2) return 2;
              int sum = 0;
              for (int i = 0; i < std::atoi(argv[1]); ++i) sum += i * i;
              std::printf("int table_sum() { return %d; }\\n", sum);
            }
            """),
        "gen/BUILD": dedent(f"""\
            cc_binary(name = "squares", srcs = ["squares.cc"])

            genrule(
                name = "table_source",
                outs = ["table.cc"],
                cmd = "$(location :squares) {_TABLE_SIZE} > $@",
                exec_tools = [":squares"],
            )

            cc_library(name = "table", srcs = ["table.cc"], visibility = ["//visibility:public"])
            """),
    }


def _application(libraries: int) -> dict[str, str]:
    names = [f"lib{library}" for library in range(libraries)]
    includes = "".join(f'#include "{name}/{name}.h"\n' for name in names)
    total = " + ".join(f"{name}_total()" for name in names)
    deps = ", ".join(f'"//{name}"' for name in ["gen:table", *names])
    return {
        "app/main.cc": (
            f"#include <cstdio>\n{includes}int table_sum();\n"
            f'int main() {{ std::printf("%d\\n", {total} + table_sum()); }}\n'
        ),
        "app/BUILD": f'cc_binary(name = "app", srcs = ["main.cc"], deps = [{deps}])\n',
    }


def _tests(totals: list[int]) -> dict[str, str]:
    files = {
        "tests/shell.sh": "#!/bin/sh\necho shell test ran\n",
        "tests/BUILD": 'sh_test(name = "shell", size = "small", srcs = ["shell.sh"])\n',
    }
    for number, total in enumerate(totals):
        name = f"lib{number}"
        files[f"tests/{name}_test.cc"] = (
            f'#include "{name}/{name}.h"\n'
            f"int main() {{ return {name}_total() == {total} ? 0 : 1; }}\n"
        )
        files["tests/BUILD"] += dedent(f"""
            cc_test(
                name = "{name}_test",
                size = "small",
                srcs = ["{name}_test.cc"],
                deps = ["//{name}"],
            )
            """)
    return files


def _failing() -> dict[str, str]:
    return {
        "failing/wrong.cc": dedent(f"""\
            #include <cstdio>
            int main() {{
              std::puts("{FAILING_TEST_OUTPUT}");
              return 1;
            }}
            """),
        "failing/BUILD": (
            'cc_test(name = "wrong", size = "small", srcs = ["wrong.cc"], tags = ["manual"])\n'
        ),
    }
