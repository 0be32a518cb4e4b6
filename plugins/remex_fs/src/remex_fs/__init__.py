"""The filesystem store of remex: one blob, one file; the directory is the index."""

__version__ = "0.1.0"
