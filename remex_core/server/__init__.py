"""Composition: which parts make up a role, and how a process of them starts and ends."""
