"""Where and when the figures were taken."""

import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.table import median, shown

_WRITES = 5


def description(command: str, durable_ms: Sequence[float]) -> list[str]:
    """Lines of Markdown. `durable_ms` is what small durable writes took meanwhile, on the disk of the databases."""
    load = "/".join(f"{one:.1f}" for one in os.getloadavg())
    return [
        f"- Command: `{command}`",
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- Machine: {os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}; "
        f"load average {load} while measuring",
        f"- Python {platform.python_version()}; a durable write of 4 KiB took {shown(median(durable_ms))} ms (p50) "
        "on the disk of the databases, and a run waits for two before its first token",
    ]


def durable_write_ms(directory: Path) -> float:
    """What this disk takes just now to make a small write durable."""
    times = []
    with (directory / "durable").open("wb", buffering=0) as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    return median(times)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
