"""What programs do with the official Python client: runs the functions named in scenario_names.txt.

A script of its own, run by the client's interpreter; the server, the key and the scripted model's recorder come from
OPENAI_BASE_URL, OPENAI_API_KEY and MODEL_REQUESTS_URL. Prints one JSON line per scenario: {name, ok, detail, seconds}.
What the model answers is asked for in the messages: support/model_directives.py.

    python scenarios.py [NAME ...]
"""

import json
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from python_client import code_interpreter, file_search, files, objects, parameters, refusals, runs, vector_stores

NAMES = (Path(__file__).parent / "scenario_names.txt").read_text("utf-8").split()
MODULES = (objects, files, vector_stores, file_search, code_interpreter, runs, refusals, parameters)
SCENARIOS = {name: function for module in MODULES for name, function in vars(module).items()}


def perform(name: str) -> str:
    """One scenario, and its line."""
    started = time.monotonic()
    try:
        SCENARIOS[name]()
    except Exception:
        detail, ok = traceback.format_exc(limit=-6), False
    else:
        detail, ok = "", True
    return json.dumps({"name": name, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - started, 3)})


def main() -> None:
    names = sys.argv[1:] or NAMES
    # The first alone: it lists everything, and its neighbours make and delete. The others four at a time: most of a
    # scenario is waiting, and a server has more than one client anyway.
    with ThreadPoolExecutor(4) as pool:
        for some in (names[:1], names[1:]):
            for line in pool.map(perform, some):
                print(line, flush=True)


if __name__ == "__main__":
    main()
