"""Effects, in order: load, decide, append, publish. What may happen is decided in `core/`."""
