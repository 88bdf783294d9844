"""What the model server of the measurements does, told by the name of the model that it is asked for."""

from typing import Final, NamedTuple

_UNITS: Final = {"ms": 0.001, "s": 1.0}


class Script(NamedTuple):
    """`tokens` tokens, `every` seconds apart (0: all at once), the first after `first` seconds. `held`: when told."""

    tokens: int = 1
    every: float = 0.0
    first: float = 0.0
    held: bool = False


def read_script(model: str) -> Script:
    """The script of `tokens=50,every=20ms,first=2s`; `first=held` waits for `POST /release`. Raises `ValueError`."""
    script = Script()
    for field in model.split(","):
        name, _, value = field.partition("=")
        match name:
            case "tokens":
                script = script._replace(tokens=int(value))
            case "every":
                script = script._replace(every=_seconds(value))
            case "first" if value == "held":
                script = script._replace(held=True)
            case "first":
                script = script._replace(first=_seconds(value))
            case _:
                raise ValueError(f"{model!r} is no script: {name!r} is not tokens, every or first")
    return script


def _seconds(value: str) -> float:
    number = value.rstrip("ms")
    return float(number) * _UNITS.get(value[len(number) :], 1.0)
