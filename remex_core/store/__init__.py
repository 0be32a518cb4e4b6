"""Stores: the contract, free functions over it, and one module per kind."""
