"""Turns the .proto files beside this module into `_generated/`.

`python -m remex_core.proto.regenerate` rewrites the generated code, `--check` only compares it.
While the generated code is missing or broken, the package cannot be imported: then run this very
file (`python remex_core/proto/regenerate.py`). Needs grpcio-tools, which nothing else here does.

protoc derives Python imports from the path a file is found under. Each file is therefore shown
to it as `remex_core/proto/_generated/NAME.proto`, so that no top-level `build` package arises.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_SOURCES = Path(__file__).resolve().parent
_PACKAGE = "remex_core/proto/_generated"
_GENERATED = _SOURCES / "_generated"


def main(arguments: list[str] | None = None) -> int:
    """Regenerates or, with --check, compares; 0 when done or equal, 1 when not."""
    parser = argparse.ArgumentParser(
        prog="python -m remex_core.proto.regenerate",
        description="Generate the Python code of the .proto files.",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with what is committed; change nothing"
    )
    check: bool = parser.parse_args(arguments).check

    fresh = _generate()
    present = {path.name: path.read_bytes() for path in _GENERATED.glob("*_pb2.py*")}
    changes = _changes(present, fresh)
    for change in changes:
        print(change, file=sys.stderr)  # noqa: T201 - a command
    if check:
        return 1 if changes else 0
    _GENERATED.mkdir(exist_ok=True)
    for name in present.keys() - fresh.keys():
        (_GENERATED / name).unlink()
    for name, content in fresh.items():
        (_GENERATED / name).write_bytes(content)
    return 0


def _generate() -> dict[str, bytes]:
    """What protoc makes of the sources: file name -> content.

    Raises:
        SystemExit: protoc refuses a source; its own message is on stderr.
    """
    import grpc_tools
    from google.longrunning import operations_pb2
    from google.rpc import status_pb2
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    googleapis = Path(status_pb2.__file__).parents[2]
    # googleapis-common-protos ships this one file under another name than the one it registers.
    operations = Path(operations_pb2.__file__).parent / "operations_proto.proto"
    with TemporaryDirectory() as scratch:
        outcome = protoc.main(
            [
                "protoc",
                f"--proto_path={_PACKAGE}={_SOURCES}",
                f"--proto_path=google/longrunning/operations.proto={operations}",
                f"--proto_path={well_known}",
                f"--proto_path={googleapis}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                *(f"{_PACKAGE}/{source.name}" for source in sorted(_SOURCES.glob("*.proto"))),
            ]
        )
        if outcome != 0:
            raise SystemExit(outcome)
        return {path.name: path.read_bytes() for path in (Path(scratch) / _PACKAGE).iterdir()}


def _changes(present: dict[str, bytes], fresh: dict[str, bytes]) -> list[str]:
    """One line for each generated file that is not as it should be."""
    changes = [f"missing: {_PACKAGE}/{name}" for name in sorted(fresh.keys() - present.keys())]
    changes += [f"left over: {_PACKAGE}/{name}" for name in sorted(present.keys() - fresh.keys())]
    changes += [
        f"differs: {_PACKAGE}/{name}"
        for name in sorted(fresh.keys() & present.keys())
        if fresh[name] != present[name]
    ]
    return changes


if __name__ == "__main__":
    sys.exit(main())
