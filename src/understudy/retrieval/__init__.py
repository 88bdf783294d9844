"""Pure algorithms of retrieval, without I/O: how texts are cut, counted and compared."""
