"""Figures and the table that shows them. No measuring here."""

import math
from collections.abc import Sequence
from statistics import median

from msgspec import Struct

__all__ = ["Row", "markdown", "median", "percentile", "row"]


class Row(Struct, frozen=True, kw_only=True):
    """A line of the table. `met`: whether the figure meets its target; `None`: there is none."""

    what: str
    understudy: str = "–"
    proxy: str = "–"
    figure: str = "–"
    target: str = "–"
    met: bool | None = None


def row(
    what: str,
    figure: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    understudy: str = "–",
    proxy: str = "–",
) -> Row:
    """A line with a figure and, of the two, the bound that it is held against. `unit` begins with a space, or is x."""
    target, met = "–", None
    if at_most is not None:
        target, met = f"≤ {shown(at_most)}{unit}", figure <= at_most
    elif at_least is not None:
        target, met = f"≥ {shown(at_least)}{unit}", figure >= at_least
    return Row(what=what, understudy=understudy, proxy=proxy, figure=f"{shown(figure)}{unit}", target=target, met=met)


def shown(figure: float) -> str:
    """Three digits that mean something."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.3g}"


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that at least so many percent of them do not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def markdown(rows: Sequence[Row]) -> str:
    met = {True: "yes", False: "**no**", None: ""}
    lines = ["| | Understudy | bare proxy | figure | target | met |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.what} | {one.understudy} | {one.proxy} | {one.figure} | {one.target} | {met[one.met]} |"
        for one in rows
    ]
    return "\n".join(lines)
