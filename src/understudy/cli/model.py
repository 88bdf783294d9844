"""`understudy model fetch` and `understudy embedding fetch`."""

from understudy.cli.terminal import Stop
from understudy.settings import Settings
from understudy.weights import TerminalProgress, Weights, WeightsUnavailable, ensure_weights

__all__ = ["fetch"]


def fetch(settings: Settings, weights: Weights) -> None:
    """Prints where the weights are, a line for each file."""
    try:
        paths = ensure_weights(settings.weights_dir, weights, progress=TerminalProgress())
    except WeightsUnavailable as error:
        raise Stop(str(error)) from error
    for path in paths:
        print(path)
