"""Execute and WaitExecution over grpc.aio, with a worker that does what it is told."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from remex_core.clock import ManualClock
from remex_core.digest import BLAKE3, DigestFunctions, Key
from remex_core.errors import Code, StoreFull, StoreUnavailable
from remex_core.proto import error_details, reapi, rpc_status, worker
from remex_core.wire import methods
from scheduler_support.house import (
    EMPTY,
    House,
    house,
    metadata_of,
    response_of,
    stage_of,
    to_digest,
)
from services_support.blobs import NOT_A_HASH, hash_of, refused

MIB = 1024 * 1024
METADATA = "build.bazel.remote.execution.v2.requestmetadata-bin"
RESPONSE_TYPE = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse"
METADATA_TYPE = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata"


def ok(exit_code: int = 0, **fields) -> reapi.ActionResult:
    made = reapi.ActionResult(exit_code=exit_code, **fields)
    made.execution_metadata.worker = "w1"
    return made


def missing_of(status: rpc_status.Status) -> list[tuple[str, str]]:
    """The violations of the one detail that a status has."""
    (detail,) = status.details
    failure = error_details.PreconditionFailure()
    assert detail.Unpack(failure)
    return [(each.type, each.subject) for each in failure.violations]


@pytest.fixture
async def home():
    async with house() as made:
        yield made


async def test_stream_of_operations(home: House) -> None:
    """EXE-01, EXE-02, EXE-04, EXE-06: named at once, each stage told, done once and at the end."""
    action = home.action()
    async with home.worker() as hand:
        stream = home.execute(action)
        seen = [await anext(stream)]
        lease = await hand.next_lease()
        await hand.progress(lease, worker.RUNNING)
        while stage_of(seen[-1]) != "EXECUTING":
            seen.append(await anext(stream))
        hand.finish(lease, ok())
        seen += [each async for each in stream]
    assert 1 == len({each.name for each in seen})
    assert seen[0].name.startswith("operations/")
    stages = [stage_of(each) for each in seen]
    assert ["CACHE_CHECK", "QUEUED", "EXECUTING", "COMPLETED"] == sorted(
        set(stages), key=stages.index
    )
    assert [False] * (len(seen) - 1) + [True] == [each.done for each in seen]
    for each in seen:
        assert METADATA_TYPE == each.metadata.type_url
        metadata = metadata_of(each)
        assert (to_digest(action), reapi.DigestFunction.SHA256) == (
            metadata.action_digest,
            metadata.digest_function,
        )
        assert metadata.partial_execution_metadata.HasField("queued_timestamp")
    assert "w1" == metadata_of(seen[-2]).partial_execution_metadata.worker
    assert RESPONSE_TYPE == seen[-1].response.type_url


async def test_first_operation_does_not_wait_for_a_worker(home: House) -> None:
    """EXE-02: the name comes at once, though nobody can run the action."""
    stream = home.execute(home.action())
    first = await anext(stream)
    assert (True, False) == (bool(first.name), first.done)
    await stream.aclose()


async def test_lease_carries_what_the_worker_needs(home: House) -> None:
    """ACT-12, EXE-27: the action, its command, its limit, and where it all belongs."""
    command = reapi.Command(arguments=["true"])
    key = home.action(command=command, timeout={"seconds": 60})
    async with home.worker() as hand:
        await home.begin(key, instance_name="main", execution_policy={"priority": -3})
        lease = await hand.next_lease()
    assert ("main", "sha256", key.hash, key.size, -3, 60) == (
        lease.instance_name,
        lease.digest_function,
        lease.action_hash,
        lease.action_size_bytes,
        lease.priority,
        lease.timeout.seconds,
    )
    assert (home.cas.values[key], command.SerializeToString()) == (lease.action, lease.command)
    assert (1, home.scheduler.epoch) == (lease.attempt.number, lease.attempt.epoch)
    assert lease.queued_at.ToNanoseconds()


async def test_request_metadata_reaches_the_worker(home: House) -> None:
    """RMD-01, RMD-02: the client's metadata travels with the lease, whatever its action_id is."""
    told = reapi.RequestMetadata(tool_invocation_id="build 7", action_id="lease-extension")
    async with home.worker() as hand:
        await home.begin(home.action(), metadata=((METADATA, told.SerializeToString()),))
        lease = await hand.next_lease()
    assert told == reapi.RequestMetadata.FromString(lease.request_metadata)


async def test_metadata_that_cannot_be_read_is_ignored(home: House) -> None:
    """RMD-01: what is informational never fails a call."""
    async with home.worker() as hand:
        await home.begin(home.action(), metadata=((METADATA, b"\xff\xff\xff"),))
        assert b"" == (await hand.next_lease()).request_metadata


async def test_result_is_always_there(home: House) -> None:
    """EXE-07: a done operation with status OK has a result, even if nothing is in it."""
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        hand.finish(await hand.next_lease())
        response = await running
    assert response.HasField("result")
    assert Code.OK == response.status.code


async def test_cached_result_is_the_answer(home: House) -> None:
    """EXE-08, MET-04: no worker is needed, and the metadata is that of the run that made it."""
    action = home.action()
    result = ok(stdout_digest=to_digest(home.store(b"hello")))
    result.execution_metadata.worker = "long ago"
    home.cache(action, result)
    response = await home.run(action)
    assert (True, result) == (response.cached_result, response.result)


async def test_cached_result_has_metadata(home: House) -> None:
    """AC-13: even where whoever wrote the entry left it out."""
    action = home.action()
    home.cache(action, reapi.ActionResult(stdout_digest=EMPTY))
    assert (await home.run(action)).result.HasField("execution_metadata")


async def test_instances_have_action_caches_of_their_own(home: House) -> None:
    """INS-07: a result of one instance is none of another."""
    action = home.action()
    home.cache(action, ok(), "main")
    assert (await home.run(action, instance_name="main")).cached_result
    async with home.worker() as hand:
        await home.begin(action, instance_name="other")
        assert "other" == (await hand.next_lease()).instance_name


async def test_skipped_look_up_runs_and_replaces(home: House) -> None:
    """EXE-09, EXE-37: the action runs although a result is cached, and the new one is kept."""
    action = home.action()
    home.cache(action, ok(stdout_digest=to_digest(home.store(b"old"))))
    fresh = ok(stdout_digest=to_digest(home.store(b"new")))
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action, skip_cache_lookup=True))
        hand.finish(await hand.next_lease(), fresh)
        response = await running
    assert (False, fresh.stdout_digest) == (response.cached_result, response.result.stdout_digest)
    assert fresh.stdout_digest == home.cached(action).stdout_digest


async def test_failed_result_in_the_cache_is_no_answer(home: House) -> None:
    """EXE-37, AC-17: what a client stored of a failed run does not keep the action from running."""
    action = home.action()
    home.cache(action, ok(exit_code=1))
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(await hand.next_lease(), ok())
        assert not (await running).cached_result


@pytest.mark.parametrize("how", ["broken", "unavailable"])
async def test_cache_that_fails_is_a_miss(home: House, how) -> None:
    """EXE-08: an action cache that cannot answer keeps nobody from running the action."""
    action = home.action()
    if how == "broken":
        home.ac.values[home.ac_key(action)] = b"\xff\xff\xff"
    else:
        home.ac.read_errors[home.ac_key(action)] = StoreUnavailable("it is down")
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(await hand.next_lease(), ok())
        assert not (await running).cached_result


async def test_good_result_is_cached(home: House) -> None:
    """EXE-08: what ran well need not run again."""
    action = home.action()
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(await hand.next_lease(), ok())
        first = await running
        second = await home.run(action)
    assert (False, True) == (first.cached_result, second.cached_result)
    assert first.result == second.result


async def test_result_that_cannot_be_cached_is_delivered(home: House) -> None:
    """EXE-21: a full action cache costs the next run, not this one."""
    home.ac.write_error = StoreFull("no room")
    action = home.action()
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(await hand.next_lease(), ok())
        assert Code.OK == (await running).status.code
    assert not home.is_cached(action)


async def test_do_not_cache(home: House) -> None:
    """EXE-10: neither looked up, nor merged, nor kept."""
    action = home.action(do_not_cache=True)
    home.cache(action, ok())
    async with home.worker(slots=2) as hand:
        first = asyncio.create_task(home.run(action))
        second = asyncio.create_task(home.run(action))
        leases = [await hand.next_lease(), await hand.next_lease()]
        del home.ac.values[home.ac_key(action)]
        for lease in leases:
            hand.finish(lease, ok())
        responses = [await first, await second]
    assert [False, False] == [each.cached_result for each in responses]
    assert not home.is_cached(action)


async def test_twins_run_once(home: House) -> None:
    """EXE-11, OP-09: many callers, one run, each with an operation of its own."""
    action = home.action()
    async with home.worker(slots=4) as hand:
        streams = [home.execute(action) for _ in range(5)]
        names = [(await anext(stream)).name for stream in streams]
        hand.finish(await hand.next_lease(), ok())
        last = [[each async for each in stream][-1] for stream in streams]
    assert 5 == len(set(names))
    assert names == [each.name for each in last]
    assert hand.leases.empty()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (reapi.ExecuteRequest(), "digest"),
        (reapi.ExecuteRequest(action_digest={"hash": NOT_A_HASH, "size_bytes": 1}), NOT_A_HASH),
        (
            reapi.ExecuteRequest(action_digest={"hash": hash_of(1), "size_bytes": -1}),
            "impossible size",
        ),
        (
            reapi.ExecuteRequest(
                action_digest={"hash": hash_of(1), "size_bytes": 1}, digest_function="MURMUR3"
            ),
            "not offered",
        ),
        (
            reapi.ExecuteRequest(
                action_digest={"hash": hash_of(1), "size_bytes": 1}, instance_name="a/blobs"
            ),
            "blobs",
        ),
    ],
)
async def test_bad_request_has_no_operation(home: House, request_, said) -> None:
    """EXE-12: what is wrong with the request itself is the status of the call."""
    with refused(Code.INVALID_ARGUMENT, said):
        await anext(home.stub.stream(methods.EXECUTE, request_))
    assert [] == home.scheduler.operations()


async def test_cache_does_not_execute() -> None:
    """CAP-06: an instance without execution says so."""
    async with house(executes=False) as home:
        with refused(Code.UNIMPLEMENTED, "does not execute"):
            await anext(home.execute(home.action()))


async def test_missing_action(home: House) -> None:
    """EXE-13, EXE-14, EXE-15: one detail in the done operation, one violation, of type MISSING."""
    action = Key("", "sha256", hash_of(7), 123)
    response = await home.run(action)
    assert Code.FAILED_PRECONDITION == response.status.code
    assert [("MISSING", f"blobs/{hash_of(7)}/123")] == missing_of(response.status)


async def test_missing_blobs_of_another_function() -> None:
    """EXE-13, DIG-13: the subject names the function where resource names do."""
    async with house(functions=DigestFunctions(["blake3"])) as home:
        action = Key("", "blake3", hash_of(7), 123)
        response = await home.run(action, digest_function="BLAKE3")
    assert [("MISSING", f"blobs/blake3/{hash_of(7)}/123")] == missing_of(response.status)


async def test_every_missing_blob_is_named(home: House) -> None:
    """EXE-16, ACT-01: the command and the input root are both told at once."""
    lost = [reapi.Digest(hash=hash_of(n), size_bytes=n) for n in (5, 6)]
    action = home.action(command_digest=lost[0], input_root_digest=lost[1])
    response = await home.run(action)
    assert [("MISSING", f"blobs/{hash_of(n)}/{n}") for n in (5, 6)] == missing_of(response.status)


async def test_missing_input_root_is_named(home: House) -> None:
    """EXE-13, ACT-01: the root of the inputs is looked for before anything is queued."""
    action = home.action(input_root_digest=reapi.Digest(hash=hash_of(6), size_bytes=6))
    response = await home.run(action)
    assert [("MISSING", f"blobs/{hash_of(6)}/6")] == missing_of(response.status)


async def test_empty_input_root_needs_no_upload(home: House) -> None:
    """ACT-01, DIG-10: the empty directory is always there."""
    async with home.worker() as hand:
        await home.begin(home.action(input_root_digest=EMPTY))
        await hand.next_lease()


async def test_what_the_worker_finds_missing_reaches_the_client(home: House) -> None:
    """EXE-14, EXE-16: the worker's list of missing inputs is passed on as it is."""
    failure = error_details.PreconditionFailure()
    for n in (1, 2, 3):
        failure.violations.add(type="MISSING", subject=f"blobs/{hash_of(n)}/{n}")
    status = rpc_status.Status(code=Code.FAILED_PRECONDITION, message="3 blobs are missing")
    status.details.add().Pack(failure)
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        lease = await hand.next_lease()
        hand.finish(lease, status=status, culprit=worker.ACTION, cacheable=False)
        response = await running
    assert status == response.status
    assert 3 == len(missing_of(response.status))


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"\xff\xff\xff", "not an Action"),
        (reapi.Action(input_root_digest=EMPTY).SerializeToString(), "no command_digest"),
        (reapi.Action(command_digest=EMPTY).SerializeToString(), "no input_root_digest"),
        (
            reapi.Action(
                command_digest={"hash": "abc"}, input_root_digest=EMPTY
            ).SerializeToString(),
            "abc",
        ),
        (
            reapi.Action(
                command_digest=EMPTY, input_root_digest={"hash": hash_of(1), "size_bytes": -4}
            ).SerializeToString(),
            "-4",
        ),
    ],
)
async def test_bad_action(home: House, blob, said) -> None:
    """EXE-17, ACT-01, DIG-05: an Action that breaks a rule is INVALID_ARGUMENT, without details."""
    response = await home.run(home.store(blob))
    assert Code.INVALID_ARGUMENT == response.status.code
    assert said in response.status.message
    assert [] == list(response.status.details)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (reapi.Command(), "no arguments"),
        (reapi.Command(arguments=["", "x"]), "no arguments"),
        (reapi.Command(arguments=["a\0b"]), "NUL"),
        (reapi.Command(arguments=["a"], output_paths=["/etc/passwd"]), "absolute"),
        (reapi.Command(arguments=["a"], output_paths=["../x"]), "leads out"),
        (reapi.Command(arguments=["a"], working_directory="../x"), "leads out"),
        (
            reapi.Command(arguments=["a"], environment_variables=[{"name": "A"}, {"name": "A"}]),
            "twice",
        ),
        (reapi.Command(arguments=["a"], output_node_properties=["sparkle"]), "sparkle"),
    ],
)
async def test_bad_command(home: House, command, said) -> None:
    """EXE-17, ACT-03, ACT-06, ACT-14, ACT-17, OUT-05: such a Command reaches no worker."""
    response = await home.run(home.action(command=command))
    assert Code.INVALID_ARGUMENT == response.status.code
    assert said in response.status.message


async def test_command_that_cannot_be_read(home: House) -> None:
    """EXE-17, ACT-17: bytes that are no Command, such as text that is not UTF-8, are refused."""
    broken = home.store(b"\x0a\x02\xff\xfe")
    response = await home.run(home.action(command_digest=to_digest(broken)))
    assert Code.INVALID_ARGUMENT == response.status.code


async def test_property_that_must_be_a_number(home: House) -> None:
    """EXE-17: a malformed amount is the client's mistake."""
    response = await home.run(home.action(platform={"cpu_count": "many"}))
    assert Code.INVALID_ARGUMENT == response.status.code
    assert "cpu_count" in response.status.message


async def test_platform_of_the_action_comes_first(home: House) -> None:
    """ACT-12: where Action and Command differ, the Action decides; else the Command does."""
    of_command = home.action(platform={"Pool": "of the command"})
    both = reapi.Action.FromString(home.cas.values[of_command])
    both.platform.properties.add(name="Pool", value="of the action")
    of_action = home.store(both.SerializeToString())
    async with (
        home.worker("one", properties={"Pool": "of the command"}) as one,
        home.worker("two", properties={"Pool": "of the action"}) as two,
    ):
        await home.begin(of_action)
        assert of_action.hash == (await two.next_lease()).action_hash
        await home.begin(of_command)
        assert of_command.hash == (await one.next_lease()).action_hash


@pytest.mark.parametrize(
    ("timeout", "said"),
    [({"seconds": -1}, "negative"), ({"seconds": 1001}, "allowed")],
)
async def test_timeout_out_of_bounds(timeout, said) -> None:
    """EXE-27: a negative time limit and one beyond the server's are refused."""
    async with house(max_timeout=1000.0) as home:
        response = await home.run(home.action(timeout=timeout))
    assert Code.INVALID_ARGUMENT == response.status.code
    assert said in response.status.message


@pytest.mark.parametrize("fields", [{}, {"timeout": {}}])
async def test_no_timeout_is_the_default(fields) -> None:
    """EXE-27: absent and zero mean the server's own limit."""
    async with house(default_timeout=77.0) as home, home.worker() as hand:
        await home.begin(home.action(**fields))
        assert 77 == (await hand.next_lease()).timeout.seconds


async def test_nonzero_exit_is_a_result(home: House) -> None:
    """EXE-22, AC-17: status OK, the exit code, what was printed; and it is not cached."""
    action = home.action()
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(await hand.next_lease(), ok(exit_code=3, stderr_digest=EMPTY))
        response = await running
    assert (Code.OK, 3) == (response.status.code, response.result.exit_code)
    assert response.result.HasField("stderr_digest")
    assert not home.is_cached(action)


async def test_timeout_keeps_what_was_printed(home: House) -> None:
    """EXE-23, EXE-24, EXE-25: its code and exact text, with the output so far; not cached."""
    action = home.action()
    status = rpc_status.Status(code=Code.DEADLINE_EXCEEDED, message="too slow")
    printed = to_digest(home.store(b"so far"))
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        lease = await hand.next_lease()
        hand.finish(lease, ok(stdout_digest=printed), status=status, culprit=worker.ACTION)
        response = await running
    assert (Code.DEADLINE_EXCEEDED, "execution timeout exceeded", printed) == (
        response.status.code,
        response.status.message,
        response.result.stdout_digest,
    )
    assert not home.is_cached(action)


async def test_message_for_the_user(home: House) -> None:
    """EXE-30: free text of the worker reaches the person whose action it is."""
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        hand.finish(await hand.next_lease(), ok(exit_code=1), message="The disk was slow.")
        assert "The disk was slow." == (await running).message


async def test_no_log_is_named_that_nobody_has(home: House) -> None:
    """EXE-29: server logs would be blobs of the CAS; there are none, so none is named."""
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        hand.finish(await hand.next_lease(), ok(exit_code=1))
        assert {} == dict((await running).server_logs)


async def test_lost_attempt_is_not_the_end(home: House) -> None:
    """EXE-05, EXE-26, EXE-36: the stage goes back to QUEUED, and the action runs once more."""
    async with home.worker() as hand:
        stream = home.execute(home.action())
        await anext(stream)
        lease = await hand.next_lease()
        await hand.progress(lease, worker.RUNNING)
        while stage_of(await anext(stream)) != "EXECUTING":
            pass
        hand.finish(lease, status=rpc_status.Status(code=Code.INTERNAL), culprit=worker.WORKER)
        assert "QUEUED" == stage_of(await anext(stream))
        second = await hand.next_lease()
        hand.finish(second, ok())
        last = [each async for each in stream][-1]
    assert (1, 2) == (lease.attempt.number, second.attempt.number)
    assert Code.OK == response_of(last).status.code


async def test_attempts_are_bounded() -> None:
    """EXE-26: in the end the operation is done, with UNAVAILABLE, which clients retry."""
    async with house(max_attempts=2) as home, home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        for _ in range(2):
            status = rpc_status.Status(code=Code.INTERNAL, message="the disk is gone")
            hand.finish(await hand.next_lease(), status=status, culprit=worker.WORKER)
        response = await running
    assert Code.UNAVAILABLE == response.status.code
    assert "worker w1 failed: the disk is gone" in response.status.message


async def test_unsatisfiable_action() -> None:
    """EXE-19, EXE-21: FAILED_PRECONDITION without details, and what to do about it."""
    clock = ManualClock()
    async with (
        house(clock=clock, unsatisfiable_grace=5.0) as home,
        home.worker(properties={"Pool": "small"}),
    ):
        stream = home.execute(home.action(platform={"Pool": "big"}))
        await anext(stream)
        clock.advance(6)
        home.scheduler.tick()
        response = response_of([each async for each in stream][-1])
    assert Code.FAILED_PRECONDITION == response.status.code
    assert [] == list(response.status.details)
    assert "the nearest worker, w1, offers Pool=small" in response.status.message
    assert "--property Pool=big" in response.message


async def test_unknown_property() -> None:
    """EXE-18: a name that nobody knows is INVALID_ARGUMENT."""
    clock = ManualClock()
    async with house(clock=clock, unsatisfiable_grace=5.0) as home, home.worker():
        stream = home.execute(home.action(platform={"Pol": "big"}))
        await anext(stream)
        clock.advance(6)
        home.scheduler.tick()
        response = response_of([each async for each in stream][-1])
    assert Code.INVALID_ARGUMENT == response.status.code
    assert "Did you mean Pool?" in response.message


async def test_full_queue() -> None:
    """EXE-20: more than may wait is RESOURCE_EXHAUSTED, with a delay after which to come again."""
    async with house(max_queued=1) as home:
        stream = home.execute(home.action("a"), skip_cache_lookup=True)
        await anext(stream)
        with refused(Code.RESOURCE_EXHAUSTED, "queue is full"):
            await anext(home.execute(home.action("b"), skip_cache_lookup=True))
        await stream.aclose()


async def test_inlined_outputs(home: House) -> None:
    """EXE-32: what the request wants inside the result is there, its digests as well."""
    out, err, file = (home.store(data) for data in (b"printed", b"complained", b"content"))
    result = ok(
        stdout_digest=to_digest(out),
        stderr_digest=to_digest(err),
        output_files=[
            {"path": "wanted", "digest": to_digest(file)},
            {"path": "other", "digest": to_digest(file)},
        ],
    )
    action = home.action()
    wishes = {"inline_stdout": True, "inline_stderr": True, "inline_output_files": ["wanted"]}
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action, **wishes))
        hand.finish(await hand.next_lease(), result)
        inlined = (await running).result
    assert (b"printed", b"complained") == (inlined.stdout_raw, inlined.stderr_raw)
    assert [b"content", b""] == [each.contents for each in inlined.output_files]
    assert to_digest(out) == inlined.stdout_digest
    plain = (await home.run(action)).result
    assert (b"", b"") == (plain.stdout_raw, plain.stderr_raw)


async def test_wishes_outlive_the_stream(home: House) -> None:
    """EXE-32: whoever takes an operation up again gets what was asked for at first."""
    result = ok(stdout_digest=to_digest(home.store(b"printed")))
    async with home.worker() as hand:
        name = await home.begin(home.action(), inline_stdout=True)
        hand.finish(await hand.next_lease(), result)
        last = [each async for each in home.wait(name)][-1]
    assert b"printed" == response_of(last).result.stdout_raw


async def test_message_stays_below_4_mib(home: House) -> None:
    """GEN-05: what does not fit is left out of the message, and stays in the CAS."""
    out, err = home.store(b"o" * 3 * MIB), home.store(b"e" * 3 * MIB)
    result = ok(stdout_digest=to_digest(out), stderr_digest=to_digest(err))
    async with home.worker() as hand:
        stream = home.execute(home.action(), inline_stdout=True, inline_stderr=True)
        await anext(stream)
        hand.finish(await hand.next_lease(), result)
        last = [each async for each in stream][-1]
    assert last.ByteSize() < 4 * MIB
    inlined = response_of(last).result
    assert (3 * MIB, 0) == (len(inlined.stdout_raw), len(inlined.stderr_raw))


async def test_large_result_travels_by_digest(home: House) -> None:
    """GEN-05: a result of more than 1 MiB comes out of the CAS, and is delivered and cached."""
    result = ok(output_files=[{"path": f"out/{n:06}", "digest": EMPTY} for n in range(15_000)])
    data = home.store(result.SerializeToString())
    assert data.size > MIB
    action = home.action()
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(action))
        hand.finish(
            await hand.next_lease(),
            action_result_hash=data.hash,
            action_result_size_bytes=data.size,
        )
        response = await running
    assert result.output_files == response.result.output_files
    assert 15_000 == len(home.cached(action).output_files)


async def test_hanging_up_does_not_cancel(home: House) -> None:
    """EXE-34: the action goes on, and its result is there for whoever asks."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        hand.finish(await hand.next_lease(), ok())
        last = [each async for each in home.wait(name)][-1]
    assert Code.OK == response_of(last).status.code


async def test_waiting_client_hears_something() -> None:
    """EXE-35: an operation is repeated from time to time, though nothing happens to it."""
    async with (
        house(update_interval=0.05) as home,
        aclosing(home.execute(home.action(), skip_cache_lookup=True)) as stream,
    ):
        seen = [await anext(stream) for _ in range(4)]
    assert 1 == len({each.name for each in seen})
    assert [False] * 4 == [each.done for each in seen]


async def test_error_field_is_never_set(home: House) -> None:
    """EXE-03, EXE-21: whatever goes wrong stands in the response, and the call ends with OK."""
    seen = [each async for each in home.execute(Key("", "sha256", hash_of(7), 123))]
    name = await home.begin(home.action("a"))
    await home.cancel(name)
    seen += [each async for each in home.wait(name)]
    assert [False] * len(seen) == [each.HasField("error") for each in seen]


async def test_times_are_those_of_the_scheduler(home: House) -> None:
    """MET-01, MET-02: all times are set and rise, though the worker's clock is years behind."""
    result = ok()
    metadata = result.execution_metadata
    metadata.execution_start_timestamp.seconds = 1000
    metadata.execution_completed_timestamp.seconds = 1010
    metadata.virtual_execution_duration.seconds = 10
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        lease = await hand.next_lease()
        hand.finish(lease, result)
        told = (await running).result.execution_metadata
    times = [
        getattr(told, name).ToNanoseconds()
        for name in (
            "queued_timestamp",
            "worker_start_timestamp",
            "input_fetch_start_timestamp",
            "input_fetch_completed_timestamp",
            "execution_start_timestamp",
            "execution_completed_timestamp",
            "output_upload_start_timestamp",
            "output_upload_completed_timestamp",
            "worker_completed_timestamp",
        )
    ]
    assert sorted(times) == times
    assert lease.queued_at.ToNanoseconds() == times[0]
    assert 10 == told.virtual_execution_duration.seconds


async def test_function_of_the_action_is_that_of_the_lease() -> None:
    """DIG-14, DIG-07: the worker is told which function the digests are of."""
    async with house(functions=DigestFunctions(["blake3"])) as home, home.worker() as hand:
        home.function = BLAKE3
        stream = home.execute(home.action())
        first = await anext(stream)
        assert "blake3" == (await hand.next_lease()).digest_function
        assert reapi.DigestFunction.BLAKE3 == metadata_of(first).digest_function
        await stream.aclose()


async def test_stopping_scheduler_sends_watchers_away(home: House) -> None:
    """OP-05: a stream never ends with OK before its operation is done."""
    async with aclosing(home.execute(home.action())) as stream:
        await anext(stream)
        home.scheduler.send_watchers_away()
        with refused(Code.UNAVAILABLE, "stopping"):
            async for _ in stream:
                pass
    with refused(Code.UNAVAILABLE, "stopping"):
        await home.run(home.action("another"))


async def test_draining_scheduler_waits_for_what_runs(home: House) -> None:
    """OP-05: new actions are refused; those that run come to their end."""
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        lease = await hand.next_lease()
        drained = asyncio.create_task(home.scheduler.drain(60))
        with refused(Code.UNAVAILABLE, "stopping"):
            await home.run(home.action("another"))
        assert not drained.done()
        hand.finish(lease, ok())
        assert Code.OK == (await running).status.code
        await drained


async def test_known_inputs_are_touched() -> None:
    """AC-03: what a waiting action needs is kept from eviction."""
    clock = ManualClock()
    async with house(clock=clock, unsatisfiable_grace=1e9) as home:
        root = home.store(
            reapi.Directory(files=[{"name": "a", "digest": EMPTY}]).SerializeToString()
        )
        action = home.action(input_root_digest=to_digest(root))
        await home.begin(action)
        touched_before = len(home.cas.touched)
        clock.advance(home.scheduler.options.touch_interval + 1)
        home.scheduler.tick()
        while len(home.cas.touched) < touched_before + 3:
            await asyncio.sleep(0)
        command = reapi.Action.FromString(home.cas.values[action]).command_digest
        assert {action.hash, command.hash, root.hash} == {
            key.hash for key in home.cas.touched[touched_before:]
        }
