"""The table of settings as rows: what the flags, the docs and whoever looks for a value read of each field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from understudy.setting_groups import Group
from understudy.setting_values import HttpUrl, value_type, without_none, without_user, words_for

__all__ = ["Setting", "rows_of"]

ENV_PREFIX: Final = "UNDERSTUDY_"
_METAVARS: Final[dict[object, str]] = {Path: "PATH", int: "NUMBER", float: "NUMBER", dict: "JSON"}


class Setting(Struct, frozen=True, kw_only=True):
    """One row of the table. `default` is in words where it depends on the machine."""

    name: str
    type: object
    words: str
    default: object
    description: str
    group: Group
    secret: bool

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return self.words == "true or false"

    @property
    def metavar(self) -> str:
        """What stands for the value in the help."""
        kind = without_none(self.type)
        choices = get_args(kind)
        if choices and all(isinstance(choice, str) for choice in choices):
            return "|".join(choices)
        bare = getattr(kind, "__origin__", kind)  # without its limits
        return _METAVARS.get(get_origin(bare) or bare, "TEXT")

    @property
    def default_words(self) -> str:
        match self.default:
            case None:
                return "not set"
            case bool():
                return str(self.default).lower()
            case {}:
                return "none"
            case _:
                return str(self.default)

    def shown(self, value: object) -> object:
        """The value, or `***` in the place of a secret one."""
        if isinstance(value, str) and without_none(self.type) is HttpUrl:
            return without_user(value)
        return "***" if self.secret and value else value


def rows_of(settings: type[Struct], *, but: type) -> Iterator[Setting]:
    """A row for each field, in their order; none for one of the type `but`."""
    for field in msgspec.structs.fields(settings):
        if field.type is but:
            continue
        about = field.type.__metadata__[-1]
        default = about.extra["default"] or (
            field.default if field.default is not NODEFAULT else field.default_factory()
        )
        type_ = value_type(field.type)
        yield Setting(
            name=field.name,
            type=type_,
            words=words_for(type_),
            default=default,
            description=about.description,
            group=about.extra["group"],
            secret=about.extra["secret"],
        )
