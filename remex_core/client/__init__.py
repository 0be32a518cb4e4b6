"""A client of any REAPI server, and of a remex's admin service.

The one that the command line, the doctor, the bench, the demo and the tests use. Importing it
imports the messages but no transport; `connect` does that.
"""

from __future__ import annotations

from remex_core.client.remote import RemoteClient, connect

__all__ = ["RemoteClient", "connect"]
