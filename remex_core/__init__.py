"""remex: remote cache and remote execution for builds, over the Remote Execution API v2."""

__version__ = "0.1.0"
