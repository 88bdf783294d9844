"""Measures what Understudy costs, beside a bare streaming proxy, in one run: `make bench`, docs/performance.md."""
