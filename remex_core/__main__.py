"""`python -m remex_core` is the `remex` command."""

from __future__ import annotations

from remex_core.cli.app import main

if __name__ == "__main__":
    main()
