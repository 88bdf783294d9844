"""All rows. The SQL stands once, in operations that both engines drive; an engine holds only what differs.

`operations.py` says what an operation is; `rows.py` turns them into `ports.Store`; `sqlite.py` and `writer.py` are the
SQLite engine. Nothing here decides what a run may do: that is `core/run/machine.py`.
"""
