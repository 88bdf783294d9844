"""What Understudy knows: pure decisions over values. No clock, no ids, no I/O, no asyncio; import-linter holds it."""
