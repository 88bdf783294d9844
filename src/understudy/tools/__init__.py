"""The built-in tools, each behind `ports.BuiltIn`. They know ports and the core, and not each other."""
