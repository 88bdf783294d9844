"""How many runs may be worked on at once, by all processes together: what a run counts against."""

from collections.abc import Callable

from understudy.core.ids import ProjectId
from understudy.ports import Bounds, Line, Share

__all__ = ["RunBounds", "line_of"]


class RunBounds:
    """`upstream_of` names the model server that a model leads to first; where there is none, anything."""

    def __init__(self, bounds: Bounds | None = None, upstream_of: Callable[[str], str] = str) -> None:
        self.bounds = bounds or Bounds()
        self._upstream_of = upstream_of
        self.there_are = self.bounds != Bounds()

    def share(self, project: ProjectId, model: str) -> Share | None:
        """Of a run with this model; `None` where nothing has a bound."""
        if not self.there_are:
            return None
        upstream = self._upstream_of(model) if self.bounds.upstreams else ""
        upstream_max = self.bounds.upstreams.get(upstream)
        return Share(
            project=project,
            upstream="" if upstream_max is None else upstream,
            project_max=self.bounds.project_max,
            upstream_max=upstream_max,
        )


def line_of(share: Share) -> Line:
    """Where a run with this share waits."""
    return Line(share.project, share.upstream)
