"""Where vectors come from: the built-in embedding, or a model of a server."""
