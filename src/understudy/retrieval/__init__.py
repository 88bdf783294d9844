"""Pure algorithms of search: texts and numbers in, numbers out. No rows, no network, no event loop."""
