"""`python -m bench`: measures and prints a table, as Markdown. Linux only: it reads the kernel's CPU clocks."""

import argparse
import shlex
import sys
import time
from pathlib import Path

from bench.machine import description
from bench.processes import Failed
from bench.rows import FULL, QUICK, SECTIONS, SMOKE, Sizes, measure
from bench.stage import open_stage
from bench.table import markdown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what Understudy costs.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about ten seconds, with rougher figures")
    size.add_argument("--smoke", action="store_true", help="two lines of the table, to see that it works")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS, help="these sections alone")
    parser.add_argument("--directory", type=Path, help="where the databases are made, for the time of the measuring")
    asked = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("The measuring reads CPU clocks that only Linux has.", file=sys.stderr)
        return 1
    sizes: Sizes = SMOKE if asked.smoke else QUICK if asked.quick else FULL
    command = shlex.join(["python -m bench", *sys.argv[1:]]).replace("'", "")
    began = time.monotonic()
    try:
        with open_stage(asked.directory) as stage:
            rows = measure(stage, sizes, asked.only)
            where = description(command, stage.durable_ms)
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print("\n".join([*where, f"- Measured in {time.monotonic() - began:.0f} s", "", markdown(rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
