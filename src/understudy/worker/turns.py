"""Whose run is begun next, so that no project starves beside one that is busy."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from understudy.core.ids import ProjectId
from understudy.core.limits import PROJECTS_REMEMBERED_MAX
from understudy.ports import RunInLine

__all__ = ["Turns"]


class Turns:
    """The project with the fewest runs here comes first, then who was served longest ago, then whose run is oldest."""

    def __init__(self) -> None:
        self._here: Counter[ProjectId] = Counter()
        self._served: OrderedDict[ProjectId, int] = OrderedDict()
        self._count = 0

    def begin(self, project: ProjectId) -> None:
        """A run of this project is worked on here."""
        self._here[project] += 1
        self._count += 1
        self._served[project] = self._count
        self._served.move_to_end(project)
        if len(self._served) > PROJECTS_REMEMBERED_MAX:
            self._served.popitem(last=False)

    def end(self, project: ProjectId) -> None:
        self._here[project] -= 1
        if not self._here[project]:
            del self._here[project]

    def next(self, heads: Iterable[RunInLine]) -> Sequence[RunInLine]:
        """Those to begin now, in this order, before the lines are looked at again: one of each project at most."""
        oldest: dict[ProjectId, RunInLine] = {}
        for head in heads:
            project = head.line.project
            if project not in oldest or head.seq < oldest[project].seq:
                oldest[project] = head
        fewest = min((self._here[project] for project in oldest), default=0)
        return sorted(
            (head for project, head in oldest.items() if self._here[project] == fewest),
            key=lambda head: (self._served.get(head.line.project, 0), head.seq),
        )
