"""`understudy model fetch`."""

from understudy.cli.terminal import Stop
from understudy.models.weights import TerminalProgress, WeightsUnavailable, ensure_weights
from understudy.settings import Settings

__all__ = ["fetch"]


def fetch(settings: Settings) -> None:
    """Prints where the weights are."""
    try:
        path = ensure_weights(settings.weights_dir, progress=TerminalProgress())
    except WeightsUnavailable as error:
        raise Stop(str(error)) from error
    print(path)
