"""How far a model server's own count of prompt tokens is from our estimate, learned from every answer."""

from typing import Final

from msgspec import Struct

from understudy.core.limits import CORRECTED_MODELS_MAX, CORRECTION_MAX, CORRECTION_MIN

_KEPT: Final = 0.8  # what an earlier answer still weighs after the next one
_PRIOR_TOKENS: Final = 500.0  # so that one short prompt, mostly template, does not set the ratio alone


class Correction(Struct, frozen=True):
    """Sums of reported and of estimated prompt tokens, older answers weighing less."""

    reported: float = _PRIOR_TOKENS
    estimated: float = _PRIOR_TOKENS

    @property
    def ratio(self) -> float:
        """What an estimate is to be multiplied by."""
        return min(max(self.reported / self.estimated, CORRECTION_MIN), CORRECTION_MAX)

    def learned(self, *, estimated: int, reported: int) -> "Correction":
        """The correction after one more answer. Without a count on both sides nothing is learned."""
        if estimated <= 0 or reported <= 0:
            return self
        return Correction(self.reported * _KEPT + reported, self.estimated * _KEPT + estimated)


class Corrections:
    """A correction per model. Clients name models freely, so only the ones used last are kept."""

    def __init__(self) -> None:
        self._by_model: dict[str, Correction] = {}

    def ratio(self, model: str) -> float:
        return self._by_model.get(model, Correction()).ratio

    def learn(self, model: str, *, estimated: int, reported: int) -> None:
        """`estimated` is before any correction."""
        learned = self._by_model.pop(model, Correction()).learned(estimated=estimated, reported=reported)
        self._by_model[model] = learned
        if len(self._by_model) > CORRECTED_MODELS_MAX:
            del self._by_model[next(iter(self._by_model))]
