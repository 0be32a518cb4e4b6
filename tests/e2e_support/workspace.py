"""Bazel workspaces that build without a network and without any flag or `.bazelrc`.

Bazel's own tools load a few repositories that it would otherwise download. Every workspace written
here names small stand-ins for them, kept in a sibling directory so that `//...` does not see them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_NATIVE_RULES: Mapping[str, Sequence[str]] = {
    "rules_cc/cc": (
        "cc_binary",
        "cc_library",
        "cc_proto_library",
        "cc_test",
        "cc_toolchain",
        "cc_toolchain_suite",
        "objc_library",
    ),
    "rules_java/java": (
        "java_binary",
        "java_import",
        "java_library",
        "java_proto_library",
        "java_runtime",
        "java_toolchain",
    ),
}
_COVERAGE_TOOLS = ("coverage_report_generator", "lcov_merger")


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write each relative path with its text; a text that starts with `#!` becomes executable."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)


def write_workspace(directory: Path, files: Mapping[str, str]) -> Path:
    """Write a workspace of these files, with its stand-in repositories, and return its root."""
    repositories = _stand_ins()
    write_files(directory / "stand_ins", repositories)
    names = sorted({name.split("/")[0] for name in repositories})
    declared = "".join(
        f'local_repository(name = "{name}", path = "../stand_ins/{name}")\n' for name in names
    )
    root = directory / "workspace"
    write_files(root, {"WORKSPACE": declared, **files})
    return root


def _stand_ins() -> dict[str, str]:
    files: dict[str, str] = {}
    for package, rules in _NATIVE_RULES.items():
        repository = package.split("/")[0]
        files[f"{repository}/WORKSPACE"] = ""
        files[f"{package}/BUILD"] = ""
        files[f"{package}/defs.bzl"] = "".join(f"{rule} = native.{rule}\n" for rule in rules)
    files["remote_coverage_tools/WORKSPACE"] = ""
    files["remote_coverage_tools/tool.sh"] = "#!/bin/sh\n"
    files["remote_coverage_tools/BUILD"] = "".join(
        f'sh_binary(name = "{tool}", srcs = ["tool.sh"], visibility = ["//visibility:public"])\n'
        for tool in _COVERAGE_TOOLS
    )
    return files
