"""From a lease to its result, with real processes."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from remex_core.clock import SYSTEM
from remex_core.digest import SHA256
from remex_core.errors import StoreFull, StoreUnavailable, Unavailable
from remex_core.proto import error_details, reapi, worker
from remex_core.store.memory import MemoryStore
from remex_core.testing.directory_store import DirectoryStore
from remex_core.worker.executor import Limits
from remex_core.worker.options import Terms, WorkerOptions
from remex_core.worker.pipeline import TIMEOUT_MESSAGE, Pipeline
from remex_core.worker.timeline import Mark
from remex_core.worker.work_directory import WorkDirectory
from worker_support.blobs import Blobs, Executable, lease
from worker_support.executors import HeldExecutor, RealExecutor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection
    from pathlib import Path

    from remex_core.digest import Key
    from remex_core.errors import RemexError
    from remex_core.store.contract import Store
    from remex_core.worker.executor import Executor
    from remex_core.worker.runner.client import RunnerProcess


class Bench:
    """A pipeline with a CAS, on which actions are run."""

    def __init__(
        self, executor: Executor, work: WorkDirectory, store: Store | None = None, **options: Any
    ) -> None:
        self.blobs = Blobs() if store is None else Blobs(store)
        self.terms = Terms()
        self.work = work
        values: dict[str, Any] = {"name": "w1", "incarnation": "one", "work_root": work.path}
        self.pipeline = Pipeline(
            WorkerOptions(**(values | options)),
            self.blobs.store,
            executor,
            work,
            self.terms,
            SYSTEM,
        )

    async def run(self, *argv: str, lease_fields: Any = None, **action: Any) -> worker.Result:
        """The result of an action with these arguments."""
        digest = await self.blobs.put_action(*argv, **action)
        return await self.execute(lease(digest, **(lease_fields or {})))

    async def sh(self, script: str, **action: Any) -> worker.Result:
        """The result of a shell script."""
        return await self.run("/bin/sh", "-c", script, **action)

    async def execute(self, given: worker.Lease) -> worker.Result:
        """The result of a lease."""
        return await self.pipeline.execute(given, lambda _: None)

    async def is_clean(self) -> bool:
        """Whether nothing is left of the actions that ran."""
        await self.pipeline.close()
        return not list(self.work.path.iterdir())


@pytest.fixture
def work(tmp_path: Path) -> WorkDirectory:
    """Where actions run."""
    return WorkDirectory(tmp_path / "work", "one")


@pytest.fixture
async def bench(runner: RunnerProcess, work: WorkDirectory) -> AsyncIterator[Bench]:
    """A bench with a memory store and real processes."""
    bench = Bench(RealExecutor(runner), work)
    yield bench
    assert await bench.is_clean()


def action_result(result: worker.Result) -> reapi.ActionResult:
    """The ActionResult of a lease's result."""
    return reapi.ActionResult.FromString(result.action_result)


def missing(result: worker.Result) -> list[str]:
    """The subjects of the missing blobs, if the status is just that."""
    (detail,) = result.status.details
    failure = error_details.PreconditionFailure()
    assert detail.Unpack(failure)
    assert {each.type for each in failure.violations} == {"MISSING"}
    return [each.subject for each in failure.violations]


class TestSuccess:
    """Actions whose process runs to its end."""

    async def test_whole_way(self, bench: Bench) -> None:
        """Inputs are there, the command runs among them, and its outputs are in the CAS."""
        result = await bench.run(
            "./tool",
            "arg",
            tree={
                "work": {"tool": Executable(b'#!/bin/sh\ncat ../in > out/f; echo "$1"; exit 3\n')},
                "in": b"input",
            },
            working_directory="work",
            output_paths=["out/f"],
        )
        found = action_result(result)
        assert (result.status.code, found.exit_code) == (0, 3)
        assert await bench.blobs.get(found.output_files[0].digest) == b"input"
        assert await bench.blobs.get(found.stdout_digest) == b"arg\n"
        assert result.cacheable
        assert not result.revoked

    async def test_salt_and_timeout_of_the_action(self, bench: Bench) -> None:
        """ACT-16: the worker reads neither salt nor timeout of an Action; the lease has a limit."""
        action = reapi.Action.FromString(
            await bench.blobs.get(await bench.blobs.put_action("/bin/sleep", "0.05"))
        )
        action.salt = b"\xff any bytes"
        action.timeout.nanos = 1
        result = await bench.execute(lease(await bench.blobs.put_message(action)))
        assert (result.status.code, action_result(result).exit_code) == (0, 0)

    async def test_whose_result_it_is(self, bench: Bench) -> None:
        """A result names its lease and its attempt."""
        attempt = worker.Attempt(group="g", number=4, epoch=9)
        result = await bench.run("/bin/true", lease_fields={"lease_id": "l", "attempt": attempt})
        assert (result.lease_id, result.attempt) == ("l", attempt)

    async def test_metadata(self, bench: Bench) -> None:
        """MET-01, MET-02: the worker, every timestamp in order, and the run's duration."""
        bench.terms.offset = 1e6
        metadata = action_result(await bench.run("/bin/sleep", "0.01")).execution_metadata
        assert metadata.worker == "w1"
        stamps = [getattr(metadata, mark.value).ToNanoseconds() for mark in Mark]
        assert stamps == sorted(stamps)
        assert metadata.queued_timestamp.seconds == 1000
        assert abs(stamps[0] / 1e9 - SYSTEM.now() - 1e6) < 600
        run = metadata.virtual_execution_duration.ToNanoseconds()
        start, end = metadata.execution_start_timestamp, metadata.execution_completed_timestamp
        assert 10_000_000 <= run <= end.ToNanoseconds() - start.ToNanoseconds()

    async def test_failing_command(self, bench: Bench) -> None:
        """EXE-22: a command that fails is no error: its outputs and streams are there."""
        result = await bench.sh("echo a > f; echo b >&2; exit 9", output_paths=["f", "g"])
        found = action_result(result)
        assert (result.status.code, found.exit_code) == (0, 9)
        assert [file.path for file in found.output_files] == ["f"]
        assert await bench.blobs.get(found.stderr_digest) == b"b\n"

    async def test_killed_command(self, bench: Bench) -> None:
        """ENV-01: a command that a signal ends has the exit code 128 + n, and is no error."""
        result = await bench.sh("kill -SEGV $$")
        assert (result.status.code, action_result(result).exit_code) == (0, 139)

    async def test_inline_messages(self, bench: Bench) -> None:
        """Action and Command that come with the lease are not read from the CAS."""
        digest = await bench.blobs.put_action("/bin/sh", "-c", "exit 5")
        data = await bench.blobs.get(digest)
        command = reapi.Action.FromString(data).command_digest
        given = lease(digest, action=data, command=await bench.blobs.get(command))
        await bench.blobs.store.discard([bench.blobs.key(digest), bench.blobs.key(command)])
        assert action_result(await bench.execute(given)).exit_code == 5

    async def test_large_result(self, bench: Bench) -> None:
        """A result that is too large for a message is in the CAS, by its digest."""
        bench.terms.max_inline_result_bytes = 10
        result = await bench.sh("exit 6")
        assert not result.action_result
        digest = reapi.Digest(
            hash=result.action_result_hash, size_bytes=result.action_result_size_bytes
        )
        assert reapi.ActionResult.FromString(await bench.blobs.get(digest)).exit_code == 6

    async def test_declared_directories_exist(self, bench: Bench) -> None:
        """OUT-01: parents of outputs exist before the run, and declared directories themselves."""
        script = "ls -d a/b c/d/e; ls -A c/d/e"
        result = await bench.sh(script, output_files=["a/b/f"], output_directories=["c/d/e"])
        found = action_result(result)
        assert await bench.blobs.get(found.stdout_digest) == b"a/b\nc/d/e\n"
        assert [directory.path for directory in found.output_directories] == ["c/d/e"]

    async def test_only_parents_of_output_paths(self, bench: Bench) -> None:
        """OUT-01: of an output path only the parent exists, since it may become a file."""
        found = action_result(await bench.sh("echo x > a/b", output_paths=["a/b"]))
        assert [file.path for file in found.output_files] == ["a/b"]

    async def test_output_parents_make_a_working_directory(self, bench: Bench) -> None:
        """ACT-08: a working directory that only outputs bring about exists."""
        result = await bench.sh("pwd", working_directory="w", output_paths=["d/out"])
        assert (result.status.code, action_result(result).exit_code) == (0, 0)

    async def test_nothing_leaks_into_the_next(self, bench: Bench) -> None:
        """ENV-05: files, TMPDIR and processes of one action are not seen by the next."""
        first = await bench.sh('echo x > "$TMPDIR/t"; echo x > f; pwd; setsid sleep 600 & :')
        second = await bench.sh('ls -A . "$TMPDIR"; pwd')
        place = await bench.blobs.get(action_result(first).stdout_digest)
        listing = await bench.blobs.get(action_result(second).stdout_digest)
        assert place not in listing
        assert b"\nf\n" not in listing
        assert b"\nt\n" not in listing

    async def test_directories_that_resist(self, bench: Bench) -> None:
        """ENV-05: what an action leaves is removed, whatever its modes."""
        result = await bench.sh("mkdir -p a/b && chmod 0 a/b a")
        assert result.status.code == 0

    async def test_leftover_writer(self, bench: Bench) -> None:
        """OUT-25: a daemon that goes on writing to an output is killed before it is hashed."""
        script = "(while :; do echo x >> f; done) & while [ ! -s f ]; do :; done"
        found = action_result(await bench.sh(script, output_paths=["f"]))
        assert await bench.blobs.get(found.output_files[0].digest)


class TestNotCached:
    """Results that must not enter the action cache, although the status is OK."""

    @pytest.mark.parametrize("program", ["no-such-program", "./absent", "/no/such"])
    async def test_missing_program(self, bench: Bench, program: str) -> None:
        """ACT-05: exit code 127 with an explanation on stderr, not cached."""
        result = await bench.run(program)
        found = action_result(result)
        assert (result.status.code, found.exit_code, result.cacheable) == (0, 127, False)
        assert program.encode() in await bench.blobs.get(found.stderr_digest)
        assert program in result.message

    async def test_not_executable(self, bench: Bench) -> None:
        """ACT-05: an input without the executable bit gives 126, not cached."""
        result = await bench.run("./file", tree={"file": b"#!/bin/sh\n"})
        assert (action_result(result).exit_code, result.cacheable) == (126, False)

    async def test_too_much_output(self, runner: RunnerProcess, work: WorkDirectory) -> None:
        """ENV-06: what was printed up to the cap is there, and the result says it is not all."""
        bench = Bench(RealExecutor(runner), work, limits=Limits(max_stdio_bytes=100))
        result = await bench.sh("head -c 100000 /dev/zero")
        found = action_result(result)
        assert (found.stdout_digest.size_bytes, result.cacheable) == (100, False)
        assert "printed more" in result.message

    async def test_too_many_processes(self, runner: RunnerProcess, work: WorkDirectory) -> None:
        """An action that went over a limit of its worker has its exit code and an explanation."""
        bench = Bench(RealExecutor(runner), work, limits=Limits(max_processes=2))
        result = await bench.sh("sleep 600 & sleep 600 & wait")
        assert (result.status.code, action_result(result).exit_code) == (0, 137)
        assert not result.cacheable
        assert "limit of 2 processes" in result.message

    async def test_tampered_inputs(
        self,
        runner: RunnerProcess,
        work: WorkDirectory,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """DIR-05: an input that was changed through its link leaves the store, and is reported."""
        bench = Bench(RealExecutor(runner), work, DirectoryStore(tmp_path / "store"))
        tree: dict[str, Any] = {"a": b"shared", "b": b"other", "c": b"gone"}
        result = await bench.sh("chmod u+w a && echo more >> a; rm c", tree=tree)
        assert (result.status.code, result.cacheable) == (0, False)
        assert "changed in place" in result.message
        keys = [SHA256.key_of(content) for content in tree.values()]
        assert await bench.blobs.store.find_missing(keys) == {keys[0]}
        assert any("changed 1 of its inputs" in each for each in caplog.messages)
        assert await bench.is_clean()


class TestActionsToBlame:
    """Failures that another worker would meet as well."""

    def check(self, result: worker.Result, code: int = 3) -> str:
        """The message of a status with this code that the action is to blame for."""
        assert (result.status.code, result.culprit) == (code, worker.ACTION)
        assert not result.cacheable
        return result.status.message

    async def test_timeout(self, bench: Bench) -> None:
        """EXE-23, EXE-24, OUT-26: exactly that message, and all that was made until then."""
        timeout = Duration(nanos=300_000_000)
        result = await bench.sh(
            "echo a > f; echo printed; sleep 600",
            output_paths=["f"],
            lease_fields={"timeout": timeout},
        )
        assert self.check(result, 4) == TIMEOUT_MESSAGE == "execution timeout exceeded"
        found = action_result(result)
        assert [file.path for file in found.output_files] == ["f"]
        assert await bench.blobs.get(found.stdout_digest) == b"printed\n"
        assert found.execution_metadata.worker == "w1"

    async def test_no_timeout(self, bench: Bench) -> None:
        """EXE-27: a lease without a time limit, or with none to speak of, has none."""
        result = await bench.run("/bin/true", lease_fields={"timeout": Duration()})
        assert result.status.code == 0

    async def test_time_limit_is_for_the_run(self, work: WorkDirectory) -> None:
        """EXE-28: time that a lease waits for a slot does not count."""
        executor = HeldExecutor()
        bench = Bench(executor, work)
        first, second = [
            lease(await bench.blobs.put_action("x", name), timeout=Duration(nanos=1))
            for name in "ab"
        ]
        running = [asyncio.create_task(bench.execute(each)) for each in (first, second)]
        executor.let_go(await executor.next())
        executor.let_go(await executor.next())
        assert [(await each).status.code for each in running] == [0, 0]
        assert await bench.is_clean()

    async def test_unusable_command(self, bench: Bench) -> None:
        """ACT-03, EXE-17: a command that breaks a rule is refused before anything is made."""
        assert "nothing to run" in self.check(await bench.run(""))

    async def test_garbage(self, bench: Bench) -> None:
        """ACT-02, EXE-17: a blob that is no Action is refused."""
        digest = await bench.blobs.put(b"\xff\xff")
        assert "not an Action" in self.check(await bench.execute(lease(digest)))

    async def test_bad_tree(self, bench: Bench) -> None:
        """DIR-01: a path that would leave the root is refused, and nothing is made outside."""
        digest = await bench.blobs.put(b"x")
        root = reapi.Directory(files=[{"name": "../escaped", "digest": digest}])
        action = reapi.Action(
            command_digest=await bench.blobs.put_message(reapi.Command(arguments=["/bin/true"])),
            input_root_digest=await bench.blobs.put_message(root),
        )
        result = await bench.execute(lease(await bench.blobs.put_message(action)))
        assert "../escaped" in self.check(result)
        assert not list(bench.work.path.parent.rglob("escaped"))

    @pytest.mark.parametrize("path", ["/abs", "../../x"])
    async def test_outputs_outside(self, bench: Bench, path: str) -> None:
        """OUT-05: an output outside of the input root is refused before the run."""
        assert path in self.check(await bench.sh("true", output_paths=[path]))

    async def test_missing_working_directory(self, bench: Bench) -> None:
        """ACT-08: a working directory that is not in the tree is refused, and not made."""
        result = await bench.sh("true", tree={"file": b""}, working_directory="absent")
        assert "working directory" in self.check(result)
        result = await bench.sh("true", tree={"file": b""}, working_directory="file")
        assert "working directory" in self.check(result)

    async def test_working_directory_that_leads_out(self, bench: Bench) -> None:
        """ACT-08, DIR-09: a working directory behind a symlink that leaves the root is refused."""
        result = await bench.sh("true", tree={"link": "/usr"}, working_directory="link/bin")
        assert "leads out" in self.check(result)

    async def test_too_long(self, bench: Bench) -> None:
        """ACT-18: arguments that are too long for the system are the action's fault."""
        self.check(await bench.run("/bin/true", *["x" * 100_000] * 50))

    async def test_nul(self, bench: Bench) -> None:
        """ACT-17: a NUL byte in an argument is the action's fault."""
        assert "NUL" in self.check(await bench.run("/bin/true", "a\0b"))

    async def test_unusable_outputs(self, bench: Bench) -> None:
        """OUT-19, OUT-26: an output that cannot be had fails the action; the others are there."""
        result = await bench.sh("mkfifo p q; echo x > f", output_paths=["p", "f", "q"])
        assert "'p'" in self.check(result)
        assert "'q'" in result.message
        assert [file.path for file in action_result(result).output_files] == ["f"]

    async def test_wrong_kind_of_output(self, bench: Bench) -> None:
        """OUT-08: a declared file that became a directory is a failed precondition."""
        result = await bench.sh("mkdir f", output_files=["f"])
        assert "is a directory" in self.check(result, 9)
        assert action_result(result).exit_code == 0

    async def test_unknown_digest_function(self, bench: Bench) -> None:
        """DIG-08: a function that nobody here can compute is refused."""
        result = await bench.run("/bin/true", lease_fields={"digest_function": "vso"})
        assert "vso" in self.check(result)

    async def test_missing_action(self, bench: Bench) -> None:
        """EXE-13: a missing Action is one MISSING violation with the blob's name."""
        key = SHA256.key_of(b"an action that nobody stored")
        result = await bench.execute(lease(reapi.Digest(hash=key.hash, size_bytes=key.size)))
        self.check(result, 9)
        assert missing(result) == [f"blobs/{key.hash}/{key.size}"]

    async def test_missing_command_and_inputs(self, bench: Bench) -> None:
        """EXE-13, EXE-16: a missing Command and missing inputs are reported together."""
        digest = await bench.blobs.put_action("/bin/true", tree={"d": {"f": b"gone"}, "g": b"too"})
        action = reapi.Action.FromString(await bench.blobs.get(digest))
        directory = (await bench.blobs.directory({"f": b"gone"})).SerializeToString()
        keys = [bench.blobs.key(action.command_digest), SHA256.key_of(directory)]
        keys.append(SHA256.key_of(b"too"))
        await bench.blobs.store.discard(keys)
        result = await bench.execute(lease(digest))
        self.check(result, 9)
        assert set(missing(result)) == {f"blobs/{key.hash}/{key.size}" for key in keys}

    async def test_missing_files(self, bench: Bench) -> None:
        """EXE-13, EXE-16: every missing file is reported."""
        tree: dict[str, Any] = {"a": b"1", "b": {"c": b"2"}, "d": b"3"}
        digest = await bench.blobs.put_action("/bin/true", tree=tree)
        keys = [SHA256.key_of(b"1"), SHA256.key_of(b"2")]
        await bench.blobs.store.discard(keys)
        result = await bench.execute(lease(digest))
        self.check(result, 9)
        assert set(missing(result)) == {f"blobs/{key.hash}/{key.size}" for key in keys}


class FailingStore(MemoryStore):
    """A store that fails on purpose, when reading or when writing."""

    def __init__(self) -> None:
        super().__init__(64 * 1024 * 1024)
        self.reading: RemexError | None = None
        self.writing: RemexError | None = None

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        if self.reading is not None:
            raise self.reading
        async with aclosing(super().read(key, offset=offset, limit=limit)) as pieces:
            async for piece in pieces:
                yield piece

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        if self.writing is not None:
            raise self.writing
        return await super().find_missing(keys)


class TestOthersToBlame:
    """Failures that the action is innocent of."""

    async def test_cas_that_cannot_be_read(
        self, runner: RunnerProcess, work: WorkDirectory
    ) -> None:
        """A CAS that does not answer counts against neither the action nor the worker."""
        store = FailingStore()
        bench = Bench(RealExecutor(runner), work, store)
        store.reading = StoreUnavailable("the CAS is away")
        result = await bench.sh("true")
        assert (result.status.code, result.culprit) == (14, worker.CAS)
        assert result.status.message == "the CAS is away"
        assert await bench.is_clean()

    async def test_cas_that_is_full(self, runner: RunnerProcess, work: WorkDirectory) -> None:
        """A CAS that takes no outputs is to blame itself."""
        store = FailingStore()
        bench = Bench(RealExecutor(runner), work, store)
        store.writing = StoreFull("no room")
        result = await bench.sh("echo x")
        assert (result.status.code, result.culprit, result.cacheable) == (8, worker.CAS, False)

    @pytest.mark.parametrize(
        ("error", "code"),
        [(Unavailable("the runner died"), 14), (OSError("the disk"), 14), (KeyError("bug"), 13)],
    )
    async def test_worker(
        self, work: WorkDirectory, caplog: pytest.LogCaptureFixture, error: Exception, code: int
    ) -> None:
        """What fails in the worker itself, bugs included, sends the action elsewhere."""
        executor = HeldExecutor()
        executor.outcome = error
        bench = Bench(executor, work)
        running = asyncio.create_task(bench.run("x"))
        executor.let_go(await executor.next())
        result = await running
        assert (result.status.code, result.culprit) == (code, worker.WORKER)
        incidents = [record for record in caplog.records if record.exc_info]
        assert len(incidents) == (1 if code == 13 else 0)
        for record in incidents:
            incident = re.search(r"incident (\w+)", record.getMessage())
            assert incident
            assert incident[1] in result.status.message
        assert await bench.is_clean()


class TestStages:
    """How leases share the worker."""

    async def test_slots_and_prefetch(self, work: WorkDirectory) -> None:
        """As many run as there are slots; the next one is ready, and starts when one has ended."""
        executor = HeldExecutor()
        bench = Bench(executor, work, slots=2)
        states: dict[str, list[int]] = {}

        async def run(name: str) -> worker.Result:
            given = lease(await bench.blobs.put_action("x", name), lease_id=name)
            return await bench.pipeline.execute(given, states.setdefault(name, []).append)

        running = [asyncio.create_task(run(name)) for name in "abc"]
        first = {await executor.next(), await executor.next()}
        (last,) = {"a", "b", "c"} - first
        while states[last] != [worker.FETCHING, worker.READY]:
            await asyncio.sleep(0)
        executor.let_go(min(first))
        assert await executor.next() == last
        executor.let_go(max(first))
        executor.let_go(last)
        assert [(await each).status.code for each in running] == [0, 0, 0]
        expected = [worker.FETCHING, worker.READY, worker.RUNNING, worker.UPLOADING]
        assert states == dict.fromkeys("abc", expected)
        assert await bench.is_clean()

    async def test_cancel(self, runner: RunnerProcess, work: WorkDirectory) -> None:
        """OP-08: a lease that is cancelled leaves no process and no file."""
        bench = Bench(RealExecutor(runner), work)
        digest = await bench.blobs.put_action("/bin/sh", "-c", ": > up; sleep 600")
        running = asyncio.create_task(bench.execute(lease(digest)))
        while not list(work.path.glob("*/root/up")):
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await bench.is_clean()

    async def test_canonical_line(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """One line for each action says who ran what, how it ended and how long each stage took."""
        caplog.set_level(logging.INFO, "remex.worker")
        metadata = reapi.RequestMetadata(action_mnemonic="CppCompile")
        result = await bench.sh(
            "exit 2",
            lease_fields={
                "attempt": worker.Attempt(group="op-1"),
                "request_metadata": metadata.SerializeToString(),
            },
        )
        assert result.status.code == 0
        (line,) = [each for each in caplog.messages if each.startswith("action done")]
        assert re.fullmatch(
            r"action done worker=w1 operation=op-1 digest=[0-9a-f]{64}/\d+ exit=2 "
            r"queue=\d+ms fetch=\d+ms run=\d+ms upload=\d+ms mnemonic=CppCompile",
            line,
        )

    async def test_line_of_a_failure(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """RMD-01: metadata that cannot be read changes nothing; a failure is in the line."""
        caplog.set_level(logging.INFO, "remex.worker")
        await bench.run("", lease_fields={"request_metadata": b"\xff"})
        (line,) = [each for each in caplog.messages if each.startswith("action done")]
        assert "exit=- " in line
        assert "mnemonic=- status=3 " in line
