"""How much memory a process takes, at its highest since one looked last. Linux alone tells."""

import os
import sys
from pathlib import Path

import pytest

__all__ = ["PeakMemory"]


class PeakMemory:
    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            # A run that is to prove something must not pass because nothing was measured.
            say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            say("only Linux tells the most memory that a process had")
        self._of = Path(f"/proc/{pid}")

    def reset(self) -> int:
        """The highest is what there is now, in bytes."""
        self._of.joinpath("clear_refs").write_text("5")
        return self.bytes()

    def bytes(self) -> int:
        lines = self._of.joinpath("status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
