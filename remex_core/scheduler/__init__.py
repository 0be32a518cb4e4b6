"""The scheduler: a pure machine, and the asynchronous engine around it."""
