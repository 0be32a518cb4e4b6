"""A workspace whose actions leave every kind of output, and what Bazel must find afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from e2e_support.workspace import write_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

MANY = 2000
BIG_BYTES = 200 * 1024 * 1024

Entry = bytes | str | None
"""The bytes of a file, the target of a symlink, or None for a directory."""

TREE: Mapping[str, Entry] = {
    "a name with spaces": b"spaced\n",
    "empty": None,
    "plain.txt": b"plain\n",
    "run.sh": b"#!/bin/sh\necho ran\n",
    "sub": None,
    "sub/deeper": None,
    "sub/deeper/deep.txt": b"deep\n",
    "sub/hollow": None,
    "sub/hollow/empty": None,
    "sub/link": "../plain.txt",
    "sub/nothing": b"",
}
"""Everything in the tree directory; of its files, only `run.sh` is executable."""

TREE_WITHOUT_FILES = {"empty", "sub/hollow", "sub/hollow/empty"}
"""The directories of the tree below which there is no file."""

_RULES = """\
def _tree(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        mnemonic = "Tree",
        outputs = [tree],
        arguments = [tree.path],
        command = '''
            cd "$1"
            mkdir -p empty sub/deeper sub/hollow/empty
            echo plain > plain.txt
            echo spaced > "a name with spaces"
            printf '#!/bin/sh\\necho ran\\n' > run.sh && chmod +x run.sh
            : > sub/nothing
            echo deep > sub/deeper/deep.txt
            ln -s ../plain.txt sub/link
        ''',
    )
    return [DefaultInfo(files = depset([tree]))]

tree = rule(_tree)

def _empty_tree(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        mnemonic = "EmptyTree",
        outputs = [tree],
        arguments = [tree.path],
        command = 'test -d "$1"',
    )
    return [DefaultInfo(files = depset([tree]))]

empty_tree = rule(_empty_tree)

def _many(ctx):
    files = [
        ctx.actions.declare_file("%s/%d.txt" % (ctx.label.name, number))
        for number in range(ctx.attr.count)
    ]
    ctx.actions.run_shell(
        mnemonic = "Many",
        outputs = files,
        arguments = [files[0].dirname, str(ctx.attr.count - 1)],
        command = 'for n in $(seq 0 "$2"); do echo "output $n" > "$1/$n.txt"; done',
    )
    return [DefaultInfo(files = depset(files))]

many = rule(_many, attrs = {"count": attr.int()})
"""

_BUILD = f"""\
load(":rules.bzl", "empty_tree", "many", "tree")

tree(name = "tree")

empty_tree(name = "empty_tree")

many(name = "many", count = {MANY})

genrule(
    name = "links",
    outs = ["target.txt", "link.txt"],
    cmd = "echo linked > $(location target.txt); ln -s target.txt $(location link.txt)",
)

genrule(
    name = "program",
    outs = ["program.sh", "data.txt"],
    cmd = "printf '#!/bin/sh\\\\necho executed\\\\n' > $(location program.sh); " +
          "chmod 755 $(location program.sh); " +
          "echo data > $(location data.txt); chmod 644 $(location data.txt)",
    executable = False,
)

# Every line differs, so that a chunk lost, repeated or moved on its way changes the bytes.
genrule(
    name = "big",
    outs = ["big.bin", "big.sha256"],
    cmd = "seq 1000000000 1019999999 > $(location big.bin); " +
          "truncate -s {BIG_BYTES} $(location big.bin); " +
          "sha256sum < $(location big.bin) > $(location big.sha256)",
)
"""


def write_outputs_workspace(directory: Path) -> Path:
    """Write the workspace, one target for each kind of output, and return its root."""
    return write_workspace(directory, {"rules.bzl": _RULES, "BUILD": _BUILD})


def snapshot(directory: Path) -> dict[str, Entry]:
    """Return everything below, by path relative to `directory`; symlinks are not followed."""
    found: dict[str, Entry] = {}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            key = str(path.relative_to(directory))
            if path.is_symlink():
                found[key] = str(path.readlink())
            elif path.is_dir():
                found[key] = None
            else:
                found[key] = path.read_bytes()
    return found
