"""Plugins: what may be registered, how it is found, and where it is looked up."""
