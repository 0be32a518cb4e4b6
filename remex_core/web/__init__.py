"""The HTTP port: health, metrics, and a page that says what this server is and how to use it."""
