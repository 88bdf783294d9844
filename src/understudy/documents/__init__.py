"""Files -> chunks. What strangers wrote is parsed in a limited child process only: see `reader.py` and `child.py`."""
