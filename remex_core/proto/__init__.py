"""The messages of every protocol that remex speaks, under short and stable names.

Import from here, never from `_generated`: `from remex_core.proto import reapi`. Each name is the
generated module itself, so `reapi.Digest` is the message class. The .proto files stand beside
this module; after a change to one run `python -m remex_core.proto.regenerate`.
"""

from __future__ import annotations

from google.longrunning import operations_pb2 as operations
from google.rpc import code_pb2 as rpc_code
from google.rpc import error_details_pb2 as error_details
from google.rpc import status_pb2 as rpc_status

from remex_core.proto._generated import admin_pb2 as admin
from remex_core.proto._generated import bytestream_pb2 as bytestream
from remex_core.proto._generated import health_pb2 as health
from remex_core.proto._generated import journal_pb2 as journal
from remex_core.proto._generated import reflection_pb2 as reflection
from remex_core.proto._generated import reflection_v1alpha_pb2 as reflection_v1alpha
from remex_core.proto._generated import remote_execution_pb2 as reapi
from remex_core.proto._generated import semver_pb2 as semver
from remex_core.proto._generated import worker_pb2 as worker

__all__ = [
    "admin",
    "bytestream",
    "error_details",
    "health",
    "journal",
    "operations",
    "reapi",
    "reflection",
    "reflection_v1alpha",
    "rpc_code",
    "rpc_status",
    "semver",
    "worker",
]
