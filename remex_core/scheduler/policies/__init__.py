"""The scheduler policies that come with the core, one module each."""
