"""A worker's pipeline on the filesystem store with the local executor, as a site runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.clock import SYSTEM, Clock
from remex_core.digest import SHA256
from remex_core.proto import reapi, worker
from remex_core.store.contract import Content
from remex_core.worker.options import Terms, WorkerOptions
from remex_core.worker.pipeline import Pipeline
from remex_core.worker.runner.client import RunnerProcess
from remex_core.worker.work_directory import WorkDirectory
from remex_core.worker.worker import work_root_of
from worker_support.blobs import Blobs, Executable, lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from remex_core.store.contract import Store
    from remex_core.worker.executor import Runner

filesystem = pytest.importorskip("remex_fs.plugin", reason="remex-fs is not installed")
local = pytest.importorskip("remex_local_exec.plugin", reason="remex-local-exec is not installed")

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True)
class Context:
    """What stores and executors are built with."""

    data_dir: Path
    runner: Runner
    work_root: Path
    clock: Clock = SYSTEM
    content: Content = Content.CAS
    path: str = "stores.cas"


@dataclass(frozen=True, slots=True)
class Site:
    """A worker's pipeline and the CAS that it shares a mount with."""

    blobs: Blobs
    pipeline: Pipeline
    work: WorkDirectory

    async def run(self, script: str, **action: Any) -> reapi.ActionResult:
        """What a shell script made; it ran without trouble."""
        result = await self.result(script, **action)
        assert result.status.code == 0, result.status.message
        return reapi.ActionResult.FromString(result.action_result)

    async def result(self, script: str, **action: Any) -> worker.Result:
        """What became of a shell script."""
        digest = await self.blobs.put_action("/bin/sh", "-ec", script, **action)
        return await self.pipeline.execute(lease(digest), lambda _: None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A filesystem store."""
    kind = filesystem.FILESYSTEM
    context = Context(tmp_path, None, tmp_path)  # type: ignore[arg-type]
    store = await kind.build(kind.spec(path=str(tmp_path / "cas")), context)
    yield store
    await store.close()


@pytest.fixture
async def site(store: Store, tmp_path: Path) -> AsyncIterator[Site]:
    """A worker on that store; its work directory is on the store's mount."""
    runner = RunnerProcess()
    work_root = work_root_of(store, tmp_path / "elsewhere")
    context = Context(tmp_path, runner, work_root)
    executor = await local.LOCAL.build(local.LocalSpec(), context)
    work = WorkDirectory(work_root, "one")
    options = WorkerOptions(name="w1", incarnation="one", work_root=work_root)
    pipeline = Pipeline(options, store, executor, work, Terms(), SYSTEM)
    yield Site(Blobs(store), pipeline, work)
    await pipeline.close()
    assert not list(work.path.iterdir())
    work.close()
    await runner.close()


async def test_inputs_are_links(site: Site) -> None:
    """DIR-05: inputs are hard links into the store, read-only, and keep their x-bits."""
    tree = {"plain": b"plain", "tool": Executable(b"tool"), "d": {"again": b"plain"}}
    result = await site.run("stat -c '%n %a %h' plain tool d/again", tree=tree)
    printed = (await site.blobs.get(result.stdout_digest)).decode()
    found = {name: (mode, int(links)) for name, mode, links in map(str.split, printed.splitlines())}
    assert {name: mode for name, (mode, _) in found.items()} == {
        "plain": "444",
        "tool": "555",
        "d/again": "444",
    }
    assert all(links >= 2 for _, links in found.values())


async def test_outputs_of_all_sizes(site: Site) -> None:
    """OUT-07: outputs come back byte for byte, whether they were sent or taken over."""
    script = "echo small > small; head -c 3000000 /dev/zero > large; mkdir d; cp large d/twin"
    result = await site.run(script, output_paths=["small", "large", "d"])
    contents = {file.path: await site.blobs.get(file.digest) for file in result.output_files}
    assert contents == {"small": b"small\n", "large": bytes(3_000_000)}
    (directory,) = result.output_directories
    assert await site.blobs.get_tree(directory.tree_digest) == {"twin": bytes(3_000_000)}


async def test_one_action_feeds_the_next(site: Site) -> None:
    """An output that the store took over is the next action's input."""
    first = await site.run("head -c 500000 /dev/zero > out", output_paths=["out"])
    root = reapi.Directory(files=[{"name": "in", "digest": first.output_files[0].digest}])
    command = reapi.Command(arguments=["/usr/bin/wc", "-c", "in"])
    action = reapi.Action(
        command_digest=await site.blobs.put_message(command),
        input_root_digest=await site.blobs.put_message(root),
    )
    digest = await site.blobs.put_message(action)
    result = await site.pipeline.execute(lease(digest), lambda _: None)
    found = reapi.ActionResult.FromString(result.action_result)
    assert await site.blobs.get(found.stdout_digest) == b"500000 in\n"


async def test_inputs_may_be_replaced_and_removed(site: Site) -> None:
    """An action may replace or remove its inputs: that changes nobody else's."""
    tree = {"a": b"first", "b": b"second"}
    script = "rm b; echo new > c; mv -f c a; cat a"
    result = await site.result(script, tree=tree)
    assert (result.status.code, result.cacheable) == (0, True)
    keys = [SHA256.key_of(content) for content in tree.values()]
    assert await site.blobs.store.find_missing(keys) == frozenset()


async def test_inputs_that_are_changed_in_place(site: Site) -> None:
    """DIR-05: a blob that an action wrote into is not served to anybody any more."""
    tree = {"a": b"first", "b": b"second"}
    result = await site.result("chmod u+w a; echo more >> a; chmod u-w a", tree=tree)
    assert (result.status.code, result.cacheable) == (0, False)
    first, second = (SHA256.key_of(content) for content in tree.values())
    assert await site.blobs.store.find_missing([first, second]) == {first}
