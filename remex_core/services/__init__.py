"""The RPC handlers: thin, and blind to the transport that carries them."""
