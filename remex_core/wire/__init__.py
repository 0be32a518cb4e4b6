"""The RPC seam: the table of methods, what a handler knows of its caller, and the transports."""
