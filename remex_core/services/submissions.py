"""From an Execute request to a submission: reads the Action and the Command and checks both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.errors import BlobNotFound, InvalidArgument, MissingBlobs, RemexError
from remex_core.platform import requirement
from remex_core.proto import reapi
from remex_core.scheduler.events import ActionSpec
from remex_core.scheduler.records import Submission
from remex_core.services.blobs import is_empty_blob, read_blobs
from remex_core.worker.command import parse_action, parse_command

if TYPE_CHECKING:
    from remex_core.digest import Key, KeyMaker
    from remex_core.scheduler.options import SchedulerOptions
    from remex_core.services.instances import Instance
    from remex_core.wire.call import Call

_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


async def read_submission(
    instance: Instance,
    maker: KeyMaker,
    key: Key,
    call: Call,
    request: reapi.ExecuteRequest,
    options: SchedulerOptions,
) -> Submission:
    """The submission that a request asks for, with everything checked that is known here.

    The input tree below its root is checked by the worker that fetches it (EXE-16).

    Raises:
        MissingBlobs: if the Action, the Command or the input root is not in the CAS (EXE-13).
        InvalidArgument: if Action or Command break a rule (EXE-17, EXE-27).
    """
    action_bytes = await _read(instance, key)
    action = parse_action(action_bytes)
    command_key = maker.key(action.command_digest.hash, action.command_digest.size_bytes)
    root = maker.key(action.input_root_digest.hash, action.input_root_digest.size_bytes)
    timeout = _timeout(action, options)
    missing = [] if is_empty_blob(root) else [*await instance.cas.find_missing((root,))]
    try:
        command_bytes = await _read(instance, command_key)
    except MissingBlobs as error:
        raise MissingBlobs([*error.keys, *missing]) from None
    if missing:
        raise MissingBlobs(missing)
    platform = action.platform if action.HasField("platform") else None
    command = parse_command(command_bytes, platform)
    wanted = requirement(
        (name, value) for name, values in command.properties.items() for value in values
    )
    metadata = call.request_metadata
    spec = ActionSpec(
        instance=instance.name,
        key=key,
        requirement=options.rules.essential(wanted),
        priority=request.execution_policy.priority,
        merges=not action.do_not_cache,
        looks_up=not (request.skip_cache_lookup or action.do_not_cache),
        invocation="" if metadata is None else metadata.tool_invocation_id,
        user=call.identity.name,
        input_root=root.hash,
    )
    return Submission(
        spec=spec,
        action=action_bytes,
        command=command_bytes,
        inputs=tuple(each for each in (key, command_key, root) if each.size),
        timeout=timeout,
        caches=not action.do_not_cache,
        traceparent=call.traceparent,
        request_metadata=b"" if metadata is None else metadata.SerializeToString(),
        inline=_wishes(request),
    )


async def _read(instance: Instance, key: Key) -> bytes:
    if key.size > _MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            f"The blob {key.hash}/{key.size} is too large for an Action or Command; "
            f"at most {_MAX_MESSAGE_BYTES} bytes are read.",
            hint="Put long argument lists into a file of the input tree.",
        )
    value = (await read_blobs(instance.cas, (key,), max_bytes=_MAX_MESSAGE_BYTES))[key]
    if isinstance(value, BlobNotFound):
        raise MissingBlobs((key,)) from None
    if isinstance(value, RemexError):
        raise value
    return value


def _timeout(action: reapi.Action, options: SchedulerOptions) -> float | None:
    """The time limit of an action in seconds; 0 counts as none given (EXE-27)."""
    seconds = action.timeout.seconds + action.timeout.nanos / 1e9
    if seconds < 0:
        raise InvalidArgument(f"The action's timeout of {seconds:g} s is negative.")
    if not seconds:
        return options.default_timeout
    if options.max_timeout is not None and seconds > options.max_timeout:
        raise InvalidArgument(
            f"The action's timeout of {seconds:g} s is over the {options.max_timeout:g} s "
            f"that are allowed here.",
            hint="Ask for less, or raise scheduler.max_timeout.",
        )
    return seconds


def _wishes(request: reapi.ExecuteRequest) -> reapi.ExecuteRequest | None:
    """The part of a request that says what to inline, or None if it says nothing (EXE-32)."""
    if not (request.inline_stdout or request.inline_stderr or request.inline_output_files):
        return None
    return reapi.ExecuteRequest(
        inline_stdout=request.inline_stdout,
        inline_stderr=request.inline_stderr,
        inline_output_files=request.inline_output_files,
    )
