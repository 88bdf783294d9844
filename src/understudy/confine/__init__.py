"""What a process may no longer do, held by the Linux kernel: seccomp filters and resource limits, in pure Python.

`deny_network` and `limit` are for a child that is about to read what strangers wrote; `sandbox_filter` is for the code
interpreter's sandbox. Nothing here imports more than the standard library: children start with it.
"""

from understudy.confine.apply import deny_network, limit
from understudy.confine.filters import network_filter, sandbox_filter

__all__ = ["deny_network", "limit", "network_filter", "sandbox_filter"]
