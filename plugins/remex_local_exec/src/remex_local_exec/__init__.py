"""The executor kind `local`: actions as processes of the worker's own machine."""

__version__ = "0.1.0"
