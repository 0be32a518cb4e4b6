"""What `remex demo` builds, and how: real actions, run by real workers."""
