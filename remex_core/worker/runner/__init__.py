"""The runner: a small process that starts actions for the worker, and ends whole process trees.

Three kinds of process stand between a worker and an action. The *runner* (`__main__`) is forked
off the worker before anything heavy is loaded; all it does is fork *supervisors*
(`supervisor`), each of which runs one action at a time. A supervisor is the subreaper of its
action: whatever the action starts, and however it detaches itself, ends up a child of the
supervisor, so "no children left" is proof that the action is gone. The worker (`client`) holds
one socket to each supervisor; a closed socket kills what runs behind it, so nothing outlives
the worker.

The processes import the standard library and `remex_core.clock` only: they start fast, stay
small and fork cheaply.
"""
