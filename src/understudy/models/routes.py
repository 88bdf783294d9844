"""Which model server answers to which model name. Only the rules: `router` asks the servers."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct

_Name: TypeAlias = Annotated[str, Meta(min_length=1, extra={"words": "a text that is not empty"})]
_GLOB: Final = frozenset("*?[")


class Target(Struct, frozen=True, kw_only=True):
    """A model at a model server. Without `model` it is the one that was asked for."""

    upstream: _Name
    model: _Name | None = None


class Route(Struct, frozen=True, kw_only=True):
    """Names that fit the glob `model` go to the first of `to`; to the next one while those before it are away or busy.

    As in a shell, `*` is anything, `?` one character, `[ab]` one of these; upper and lower case differ.
    """

    model: _Name
    to: tuple[Target, ...]

    @property
    def is_exact(self) -> bool:
        return _GLOB.isdisjoint(self.model)


class Place(NamedTuple):
    """Whom to ask, and for what."""

    upstream: str
    model: str


class Routes(Struct, frozen=True, kw_only=True):
    """The first route that fits decides. An alias is replaced by what it stands for before routes are looked at."""

    rows: tuple[Route, ...] = ()
    aliases: Mapping[str, str] = {}

    def places(self, asked: str) -> Sequence[Place]:
        """Whom to ask for a model, in this order. Empty: no route takes this name."""
        name = self.aliases.get(asked, asked)
        for route in self.rows:
            if fnmatchcase(name, route.model):
                return [Place(target.upstream, target.model or name) for target in route.to]
        return ()

    def first(self, asked: str) -> str:
        """The model server that is asked first for a model; empty where no route takes its name."""
        return next((place.upstream for place in self.places(asked)), "")

    def names(self) -> Sequence[str]:
        """Names that exist because an alias or a route without wildcards says so."""
        return [*self.aliases, *(route.model for route in self.rows if route.is_exact)]

    def upstreams(self) -> Sequence[str]:
        """The model servers that some route names, each once."""
        return list(dict.fromkeys(target.upstream for route in self.rows for target in route.to))
