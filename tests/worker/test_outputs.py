"""Collecting outputs and uploading them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import FailedPrecondition, InvalidArgument
from remex_core.proto import reapi
from remex_core.worker.command import parse_command
from remex_core.worker.output_tree import encode_tree
from remex_core.worker.outputs import Collected, collect
from remex_core.worker.upload import upload
from worker_support.blobs import Blobs, Executable, Tree
from worker_support.unprivileged import unprivileged

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.digest import DigestFunction

TREE: Tree = {
    "b": b"file",
    "a": Executable(b"tool"),
    "link": "../x",
    "empty": {},
    "sub": {"deep": {"b": b"file"}, "twin": {"b": b"file"}},
    "é": b"accent",
    "z": b"",
}

EMPTY_TREE = "102b51b9765a56a3e899f7cf0ee38e5251f9c503b357b330a49183eb7b155604"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty input root."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def blobs() -> Blobs:
    """An empty CAS."""
    return Blobs()


def gather(
    root: Path,
    *,
    function: DigestFunction = SHA256,
    max_file_bytes: int = 2**30,
    **fields: Any,
) -> Collected:
    """What a command with these fields left in `root`."""
    message = reapi.Command(**({"arguments": ["tool"]} | fields))
    return collect(
        root,
        parse_command(message.SerializeToString()),
        function,
        stdout=root.parent / "stdout",
        stderr=root.parent / "stderr",
        max_file_bytes=max_file_bytes,
    )


def declared(field: str, *paths: str) -> dict[str, Any]:
    """The field of a Command that declares these outputs."""
    return {field: paths}


def problems(found: Collected) -> list[type[Exception]]:
    """The kinds of the problems that were found."""
    return [type(problem) for problem in found.problems]


def write_tree(directory: Path, tree: Tree) -> None:
    """Makes a tree in an existing directory."""
    for name, entry in tree.items():
        path = directory / name
        if isinstance(entry, str):
            path.symlink_to(entry)
        elif isinstance(entry, bytes):
            path.write_bytes(entry)
        elif isinstance(entry, Executable):
            path.write_bytes(entry.content)
            path.chmod(0o755)
        else:
            path.mkdir()
            write_tree(path, entry)


async def uploaded(blobs: Blobs, found: Collected) -> Blobs:
    """The CAS with everything that was found."""
    await upload(blobs.store, found.files, found.blobs)
    return blobs


class TestFiles:
    """Output files."""

    @pytest.mark.parametrize("field", ["output_paths", "output_files"])
    async def test_file(self, root: Path, blobs: Blobs, field: str) -> None:
        """OUT-06, OUT-07: a file comes with its digest, which is in the CAS, and its mode."""
        write_tree(root, {"plain": b"plain", "tool": Executable(b"tool"), "empty": b""})
        found = gather(root, **declared(field, "plain", "tool", "empty"))
        assert not found.problems
        expected = {"plain": (b"plain", False), "tool": (b"tool", True), "empty": (b"", False)}
        await uploaded(blobs, found)
        assert expected == {
            file.path: (await blobs.get(file.digest), file.is_executable)
            for file in found.result.output_files
        }

    @pytest.mark.parametrize("mode", [0o744, 0o454, 0o445])
    def test_executable_by_anybody(self, root: Path, mode: int) -> None:
        """OUT-06: a file that anybody may execute is executable."""
        (root / "tool").write_bytes(b"x")
        (root / "tool").chmod(mode)
        (file,) = gather(root, output_paths=["tool"]).result.output_files
        assert file.is_executable

    def test_only_what_is_declared(self, root: Path) -> None:
        """OUT-02: what no output names is not collected."""
        write_tree(root, {"wanted": b"1", "other": b"2"})
        found = gather(root, output_paths=["wanted"])
        assert [file.path for file in found.result.output_files] == ["wanted"]
        assert list(found.files) == [SHA256.key_of(b"1")]

    @pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
    def test_missing(self, root: Path, field: str) -> None:
        """OUT-03: an output that does not exist is left out and is no error."""
        write_tree(root, {"file": b""})
        found = gather(root, **declared(field, "absent", "no/such/parent", "file/below"))
        assert not found.problems
        assert reapi.ActionResult() == found.result

    def test_paths_are_verbatim(self, root: Path) -> None:
        """OUT-04, OUT-05: paths come back as they were asked for, `..` included."""
        write_tree(root, {"up": b"1", "work": {"in": b"2"}})
        found = gather(root, working_directory="work", output_paths=["../up", "./in"])
        assert [file.path for file in found.result.output_files] == ["../up", "./in"]

    def test_directory_for_a_file(self, root: Path) -> None:
        """OUT-08: a declared file that is a directory is a failed precondition."""
        write_tree(root, {"a": {}, "b": b"kept"})
        found = gather(root, output_files=["a", "b"])
        assert problems(found) == [FailedPrecondition]
        assert "output file 'a' is a directory" in found.problems[0].message
        assert [file.path for file in found.result.output_files] == ["b"]

    def test_file_for_a_directory(self, root: Path) -> None:
        """OUT-08: a declared directory that is a file is a failed precondition."""
        write_tree(root, {"a": b""})
        found = gather(root, output_directories=["a"])
        assert problems(found) == [FailedPrecondition]

    def test_path_in_both_lists(self, root: Path) -> None:
        """OUT-09, ACT-11: a path that is declared as both may be either."""
        write_tree(root, {"d": {}, "f": b""})
        found = gather(root, output_files=["d", "f"], output_directories=["d", "f"])
        assert not found.problems
        assert [file.path for file in found.result.output_files] == ["f"]
        assert [directory.path for directory in found.result.output_directories] == ["d"]

    def test_output_paths_are_of_any_kind(self, root: Path) -> None:
        """OUT-09: an output path may become a file, a directory or a symlink."""
        write_tree(root, {"f": b"", "d": {}, "l": "f"})
        found = gather(root, output_paths=["f", "d", "l"])
        assert not found.problems
        result = found.result
        assert [len(result.output_files), len(result.output_directories)] == [1, 1]
        assert len(result.output_symlinks) == 1

    def test_sparse_and_setuid(self, root: Path) -> None:
        """OUT-22: a sparse file counts by its logical size; setuid is not represented."""
        with (root / "sparse").open("wb") as file:
            file.truncate(100_000)
        (root / "sparse").chmod(0o4755)
        (file_,) = gather(root, output_paths=["sparse"]).result.output_files
        assert file_.digest.hash == SHA256.hash(bytes(100_000))
        assert file_.is_executable

    def test_largest_file(self, root: Path) -> None:
        """OUT-22: a file above the worker's limit is refused by its size, unread."""
        with (root / "huge").open("wb") as file:
            file.truncate(2**40)
        found = gather(root, max_file_bytes=2**39, output_paths=["huge"])
        assert problems(found) == [FailedPrecondition]
        assert str(2**40) in found.problems[0].message

    def test_hard_links(self, root: Path) -> None:
        """OUT-22: two names of one file are two outputs, and neither may be taken over."""
        (root / "a").write_bytes(b"shared")
        os.link(root / "a", root / "b")
        found = gather(root, output_paths=["a", "b"])
        assert len(found.result.output_files) == 2
        assert not found.files[SHA256.key_of(b"shared")].own

    def test_blake3(self, root: Path) -> None:
        """Outputs are hashed by the function of the action."""
        (root / "a").write_bytes(b"x")
        (file,) = gather(root, function=BLAKE3, output_paths=["a"]).result.output_files
        assert file.digest.hash == BLAKE3.hash(b"x")


class TestSymlinks:
    """Symlinks as outputs."""

    def lists(self, result: reapi.ActionResult) -> dict[str, list[tuple[str, str]]]:
        """The three lists of symlinks."""
        return {
            name: [(link.path, link.target) for link in getattr(result, name)]
            for name in ("output_symlinks", "output_file_symlinks", "output_directory_symlinks")
        }

    def test_by_output_paths(self, root: Path) -> None:
        """OUT-10, OUT-18: symlinks go to the new list, and to the old one of what they lead to."""
        write_tree(root, {"f": b"", "d": {}, "to-f": "f", "to-d": "d", "to-nothing": "nothing"})
        result = gather(root, output_paths=["to-f", "to-d", "to-nothing"]).result
        to_file, to_directory, to_nothing = ("to-f", "f"), ("to-d", "d"), ("to-nothing", "nothing")
        assert self.lists(result) == {
            "output_symlinks": [to_file, to_directory, to_nothing],
            "output_file_symlinks": [to_file, to_nothing],
            "output_directory_symlinks": [to_directory],
        }
        assert not result.output_files
        assert not result.output_directories

    def test_by_older_lists(self, root: Path) -> None:
        """OUT-10, OUT-18: with the older lists declared, the new list of symlinks stays empty."""
        write_tree(root, {"f": b"", "d": {}, "to-f": "f", "to-d": "d"})
        result = gather(root, output_files=["to-f"], output_directories=["to-d"]).result
        assert self.lists(result) == {
            "output_symlinks": [],
            "output_file_symlinks": [("to-f", "f")],
            "output_directory_symlinks": [("to-d", "d")],
        }

    def test_dangling_for_either(self, root: Path) -> None:
        """OUT-10: a symlink to nothing is a file symlink, however it was declared."""
        write_tree(root, {"a": "nothing", "b": "nothing"})
        found = gather(root, output_files=["a"], output_directories=["b"])
        assert not found.problems
        assert len(found.result.output_file_symlinks) == 2

    def test_of_the_wrong_kind(self, root: Path) -> None:
        """OUT-11: a declared file that leads to a directory fails, and the other way round."""
        write_tree(root, {"f": b"", "d": {}, "to-f": "f", "to-d": "d"})
        found = gather(root, output_files=["to-d"], output_directories=["to-f"])
        assert problems(found) == [FailedPrecondition] * 2

    @pytest.mark.parametrize("target", ["/etc/hostname", "../../..", "a/../b"])
    def test_targets_are_verbatim(self, root: Path, target: str) -> None:
        """OUT-12: a target is kept as it is, absolute or outside: the capabilities allow it."""
        write_tree(root, {"link": target, "dir": {"inner": target}})
        found = gather(root, output_paths=["link", "dir"])
        assert not found.problems
        assert found.result.output_symlinks[0].target == target
        (tree,) = found.blobs.values()
        assert reapi.Tree.FromString(tree).root.symlinks[0].target == target

    def test_on_the_way_inside(self, root: Path) -> None:
        """OUT-20: a symlink on the way to an output is followed within the input root."""
        write_tree(root, {"real": {"deep": {"out": b"found"}}, "way": "real/deep"})
        found = gather(root, output_paths=["way/out"])
        assert [file.path for file in found.result.output_files] == ["way/out"]
        assert found.files.keys() == {SHA256.key_of(b"found")}

    @pytest.mark.parametrize("target", ["..", "{outside}", "way"])
    def test_on_the_way_outside(self, root: Path, target: str) -> None:
        """OUT-20: an output behind a symlink that leaves the root, or turns in circles, is none."""
        outside = root.parent / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (root.parent / "secret").write_bytes(b"secret")
        write_tree(root, {"way": target.format(outside=outside)})
        found = gather(root, output_paths=["way/secret"])
        assert reapi.ActionResult() == found.result
        assert not found.problems


class TestDirectories:
    """Output directories."""

    @pytest.mark.parametrize("field", ["output_paths", "output_directories"])
    async def test_tree(self, root: Path, blobs: Blobs, field: str) -> None:
        """OUT-07: a directory comes back with everything in it, and all of it is in the CAS."""
        write_tree(root, {"out": TREE})
        found = gather(root, **declared(field, "out"))
        await uploaded(blobs, found)
        (directory,) = found.result.output_directories
        assert directory.path == "out"
        assert TREE == await blobs.get_tree(directory.tree_digest)

    def test_canonical(self, root: Path) -> None:
        """OUT-13: names are sorted by their UTF-8 bytes, in every list and directory."""
        names = ["b", "a", "B", "é", "z", "\U0001f600", "\uffff"]
        write_tree(root, {"out": dict.fromkeys(names, b"")})
        (tree,) = gather(root, output_paths=["out"]).blobs.values()
        found = [file.name for file in reapi.Tree.FromString(tree).root.files]
        assert found == sorted(names, key=str.encode)

    def test_empty(self, root: Path) -> None:
        """OUT-13: an empty directory is a Tree with an empty root, and not the empty blob."""
        write_tree(root, {"out": {}})
        found = gather(root, output_paths=["out"])
        (directory,) = found.result.output_directories
        assert directory.tree_digest.hash == EMPTY_TREE
        assert list(found.blobs.values()) == [b"\x0a\x00"]

    def test_deterministic(self, root: Path) -> None:
        """OUT-14: the same content makes the same Tree, in whatever order it was made."""
        write_tree(root, {"first": TREE, "second": dict(reversed(list(TREE.items())))})
        found = gather(root, output_paths=["first", "second"])
        first, second = found.result.output_directories
        assert first.tree_digest == second.tree_digest

    def test_topologically_sorted(self, root: Path) -> None:
        """OUT-15: each directory is in the Tree once, after every directory that holds it."""
        shared: Tree = {"s": {"t": {"u": {}}}}
        tree: Tree = {"a": shared, "b": {"c": shared, "d": {"t": {"u": {}}}}, "e": {}}
        write_tree(root, {"out": tree})
        found = gather(root, output_paths=["out"])
        (directory,) = found.result.output_directories
        assert directory.is_topologically_sorted
        message = reapi.Tree.FromString(found.blobs[SHA256.key_of(encoded(found))])
        digests = [SHA256.hash(each.SerializeToString()) for each in message.children]
        assert len(digests) == len(set(digests))
        known = {node.digest.hash for node in message.root.directories}
        for digest, child in zip(digests, message.children, strict=True):
            assert digest in known
            known |= {node.digest.hash for node in child.directories}
            below = {node.digest.hash for node in child.directories}
            assert not below & set(digests[: digests.index(digest) + 1])
        assert known == set(digests)

    def test_encoding(self) -> None:
        """OUT-15: a Tree is the root as field 1 and each child as field 2, of any length."""
        child = reapi.Directory(symlinks=[{"name": "l", "target": "x" * 300}]).SerializeToString()
        data = encode_tree(b"", {SHA256.key_of(child): child})
        expected = reapi.Tree(root=reapi.Directory(), children=[reapi.Directory.FromString(child)])
        assert expected.SerializeToString() == data

    @pytest.mark.parametrize(
        "directory_format", [reapi.Command.DIRECTORY_ONLY, reapi.Command.TREE_AND_DIRECTORY]
    )
    async def test_directories_as_blobs(
        self, root: Path, blobs: Blobs, directory_format: reapi.Command.OutputDirectoryFormat
    ) -> None:
        """OUT-16: when asked for, each Directory is a blob too, and the Tree is there as well."""
        write_tree(root, {"out": TREE})
        found = gather(root, output_paths=["out"], output_directory_format=directory_format)
        await uploaded(blobs, found)
        (directory,) = found.result.output_directories
        tree = reapi.Tree.FromString(await blobs.get(directory.tree_digest))
        top = await blobs.get(directory.root_directory_digest)
        assert tree.root.SerializeToString() == top
        for child in tree.children:
            key = SHA256.key_of(child.SerializeToString())
            assert key == SHA256.empty_key or not await blobs.store.find_missing([key])

    def test_tree_only(self, root: Path) -> None:
        """OUT-16: unless asked for, no Directory is stored by itself."""
        write_tree(root, {"out": TREE})
        found = gather(root, output_paths=["out"])
        assert len(found.blobs) == 1
        assert not found.result.output_directories[0].HasField("root_directory_digest")

    @pytest.mark.parametrize("field", ["output_paths", "output_directories"])
    async def test_whole_working_directory(self, root: Path, blobs: Blobs, field: str) -> None:
        """OUT-17, OUT-28: the empty path is the working directory with its inputs."""
        write_tree(root, {"work": {"input": b"1", "output": b"2"}, "other": b"3"})
        found = gather(root, working_directory="work", **declared(field, ""))
        await uploaded(blobs, found)
        (directory,) = found.result.output_directories
        assert directory.path == ""
        expected: Tree = {"input": b"1", "output": b"2"}
        assert expected == await blobs.get_tree(directory.tree_digest)

    async def test_whole_input_root(self, root: Path, blobs: Blobs) -> None:
        """OUT-17: the working directory may be the input root itself."""
        write_tree(root, {"d": {"f": b"1"}})
        found = gather(root, output_paths=[""])
        await uploaded(blobs, found)
        (directory,) = found.result.output_directories
        assert await blobs.get_tree(directory.tree_digest) == {"d": {"f": b"1"}}

    def test_nested_too_deep(self, root: Path) -> None:
        """DIR-11: a directory that is nested beyond reason is refused, and nothing overflows."""
        directory = os.open(root, os.O_RDONLY)
        for _ in range(600):
            os.mkdir("d", dir_fd=directory)
            below = os.open("d", os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.close(directory)
        found = gather(root, output_paths=["d"])
        assert problems(found) == [InvalidArgument]
        assert "nested" in found.problems[0].message


def encoded(found: Collected) -> bytes:
    """The only blob that was made."""
    (data,) = found.blobs.values()
    return data


class TestWhatCannotBeRepresented:
    """Special files, names and modes."""

    def make_special(self, path: Path, kind: str) -> None:
        """A fifo or a socket at a path."""
        if kind == "fifo":
            os.mkfifo(path)
        else:
            here = os.open(path.parent, os.O_RDONLY)
            with socket.socket(socket.AF_UNIX) as server:
                # By a short name: pytest's paths are longer than a socket's may be.
                server.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)

    @pytest.mark.parametrize("kind", ["fifo", "socket"])
    @pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
    def test_special_file(self, root: Path, kind: str, field: str) -> None:
        """OUT-19: a special file is refused, and not opened, which could last for ever."""
        self.make_special(root / "special", kind)
        assert problems(gather(root, **declared(field, "special"))) == [InvalidArgument]

    def test_special_file_in_a_directory(self, root: Path) -> None:
        """OUT-19, OUT-26: inside a directory too, and the rest of it is collected."""
        write_tree(root, {"out": {"file": b"kept"}})
        self.make_special(root / "out" / "special", "fifo")
        found = gather(root, output_paths=["out"])
        assert problems(found) == [InvalidArgument]
        assert "'out/special'" in found.problems[0].message
        (file,) = reapi.Tree.FromString(encoded(found)).root.files
        assert file.name == "file"

    def test_names_that_are_not_utf8(self, root: Path) -> None:
        """OUT-24: such a name is refused with its bytes escaped; the rest is collected."""
        write_tree(root, {"out": {"file": b"kept"}})
        (root / "out" / os.fsdecode(b"bad\xff")).write_bytes(b"")
        found = gather(root, output_paths=["out"])
        assert problems(found) == [InvalidArgument]
        assert r"out/bad\xff" in found.problems[0].message
        assert found.problems[0].message.encode()
        assert len(reapi.Tree.FromString(encoded(found)).root.files) == 1

    def test_targets_that_are_not_utf8(self, root: Path) -> None:
        """OUT-24: likewise the target of a symlink."""
        os.symlink(b"bad\xff", os.fsencode(root / "link"))
        found = gather(root, output_paths=["link"])
        assert problems(found) == [InvalidArgument]
        assert r"bad\xff" in found.problems[0].message

    def test_unreadable(self) -> None:
        """OUT-21: outputs without permissions are made readable, and collected with all else."""
        with unprivileged() as directory:
            root = directory / "root"
            root.mkdir()
            write_tree(root, {"file": b"1", "dir": {"sub": {"file": b"2"}, "list": {"f": b"3"}}})
            (root / "dir" / "sub" / "file").chmod(0)
            (root / "dir" / "sub").chmod(0)
            (root / "dir" / "list").chmod(0o400)
            (root / "dir").chmod(0)
            (root / "file").chmod(0)
            found = gather(root, output_paths=["file", "dir"])
            assert not found.problems
            assert {SHA256.key_of(data) for data in (b"1", b"2", b"3")} == found.files.keys()
            assert not found.result.output_files[0].is_executable


class TestStreams:
    """stdout and stderr."""

    async def test_streams(self, root: Path, blobs: Blobs) -> None:
        """OUT-23: what was printed is in the CAS, by its digests."""
        (root.parent / "stdout").write_bytes(b"out")
        (root.parent / "stderr").write_bytes(b"err")
        found = gather(root)
        await uploaded(blobs, found)
        assert await blobs.get(found.result.stdout_digest) == b"out"
        assert await blobs.get(found.result.stderr_digest) == b"err"

    def test_nothing_printed(self, root: Path) -> None:
        """OUT-23: where nothing was printed, there is no digest."""
        (root.parent / "stdout").write_bytes(b"")
        assert reapi.ActionResult() == gather(root).result
