"""The rules that a stream of events keeps so that the SDKs can read it (contract sections 0 and 4)."""

from collections.abc import Iterable
from typing import Any

from understudy.core.run.machine import TERMINAL
from understudy.wire.events import RESTING

__all__ = ["check_readable", "terminal_events"]


def check_readable(events: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Raises `AssertionError` unless messages and steps are strictly nested and nothing follows the run's end.

    `events` are names with their objects, of a log or of a stream up to and without `done`; deltas count too.
    """
    step: str | None = None
    message: str | None = None
    ended = False
    for name, shown in events:
        assert not ended, f"{name} follows the end of the run"
        match name.removeprefix("thread.").split("."):
            case ["discarded"] | ["discarded", *_]:
                step = message = None
            case ["run", "step", "created"]:
                assert (step, message) == (None, None), f"{name} while {step or message} is open"
                step = shown["id"]
            case ["run", "step", kind]:
                assert shown["id"] == step, f"{name} of {shown['id']}, while {step} is open"
                if kind not in ("in_progress", "delta"):
                    assert message is None, f"{name} while {message} is open"
                    step = None
            case ["message", "created"]:
                assert message is None, f"{name} while {message} is open"
                assert shown["content"] == []
                message = shown["id"]
            case ["message", kind]:
                assert shown["id"] == message, f"{name} of {shown['id']}, while {message} is open"
                message = message if kind in ("in_progress", "delta") else None
            case ["run", _]:
                ended = shown["status"] in TERMINAL
                if name in RESTING:
                    assert message is None, f"{name} while {message} is open"
            case _:
                raise AssertionError(f"an unknown event: {name}")
    if ended:
        assert (step, message) == (None, None), f"the run ended while {step or message} is open"


def terminal_events(names: Iterable[str]) -> list[str]:
    """Those that end a run."""
    return [name for name in names if name.removeprefix("thread.run.") in TERMINAL]
