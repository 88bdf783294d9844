"""The tables of the settings file that say which model servers there are, and which of them answers to which name."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from understudy.core import limits
from understudy.models.quirks import QUIRKS
from understudy.models.routes import Route, Routes, Target
from understudy.setting_values import (
    Count,
    HeaderName,
    HeaderValue,
    HttpUrl,
    NotEmpty,
    Seconds,
    SettingError,
    Tokens,
    decode,
    nearest,
    value_type,
    without_user,
)

__all__ = ["NAMES", "STAND_IN", "UPSTREAM", "ModelTables", "UpstreamTable", "read"]

NAMES: Final = ("upstreams", "routes", "aliases")
UPSTREAM: Final = "upstream"  # the model server of the settings that begin with `upstream_`
STAND_IN: Final = "stand-in"

_Row = TypeVar("_Row", bound=Struct)


def _about(description: str, *, secret: bool = False) -> Meta:
    return Meta(description=description, extra={"secret": secret})


class UpstreamTable(Struct, frozen=True, kw_only=True):
    """A model server, as `[upstreams.NAME]` describes it. `api_key` is the one to use, wherever it came from."""

    base_url: Annotated[HttpUrl, _about("Base URL, as in http://127.0.0.1:11434/v1.")]
    api_key: Annotated[HeaderValue | None, _about("Key that is sent to it.", secret=True)] = None
    api_key_env: Annotated[NotEmpty | None, _about("Environment variable that has the key, instead of `api_key`.")] = (
        None
    )
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        Meta(extra={"words": "a table of header names and their values"}),
        _about("More headers for every request.", secret=True),
    ] = {}
    context_window: Annotated[Tokens, _about("Tokens that a prompt and its answer may have together.")] = (
        limits.CONTEXT_WINDOW_TOKENS
    )
    connect_seconds: Annotated[Seconds, _about("Longest wait for a connection.")] = limits.UPSTREAM_CONNECT_SECONDS
    silence_seconds: Annotated[Seconds, _about("Longest wait for the next byte of an answer.")] = (
        limits.UPSTREAM_SILENCE_SECONDS
    )
    runs_max: Annotated[
        Count | None, _about("Runs that are worked on with it at the same time, by all processes together.")
    ] = None
    quirks: Annotated[
        tuple[str, ...],
        Meta(extra={"words": "a list of names of quirks"}),
        _about("What it cannot take: names of the table below."),
    ] = ()

    def shown(self) -> dict[str, object]:
        """What was given, by name, secrets masked."""
        plain = UpstreamTable(base_url="")
        shown: dict[str, object] = {}
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value != getattr(plain, field.name):
                shown[field.name] = "***" if _is_secret(field) else value
        if self.api_key_env is not None:
            shown.pop("api_key", None)
        return shown | {"base_url": without_user(self.base_url)}

    def __repr__(self) -> str:
        return f"UpstreamTable({self.shown()!r})"  # the generated one would print the key

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return list(self.shown().items())


class ModelTables(Struct, frozen=True, kw_only=True):
    """The three tables, each right in itself; whether they fit together is asked when a server starts."""

    upstreams: Mapping[str, UpstreamTable] = {}
    rows: tuple[Route, ...] = ()
    aliases: Mapping[str, str] = {}
    source: str = "the settings"

    def routes(self, *, upstream: bool, stand_in: bool) -> Routes:
        """All routes, with the default one behind them. Raises `SettingError`.

        `upstream` and `stand_in`: whether the model servers of these names exist too.
        """
        known = [*self.upstreams, *[UPSTREAM] * upstream, *[STAND_IN] * stand_in]
        for place, route in enumerate(self.rows, 1):
            for target in route.to:
                if target.upstream not in known:
                    near = f"the nearest is '{nearest(target.upstream, known)}'" if known else "there is none"
                    raise SettingError(
                        f"The upstream '{target.upstream}', named in [[routes]] number {place} in {self.source}, "
                        f"does not exist; {near}."
                    )
        for name, table in self.upstreams.items():
            if table.api_key_env is not None and table.api_key is None:
                raise SettingError(
                    f"The environment variable {table.api_key_env} is not set, though 'api_key_env' of "
                    f"[upstreams.{name}] in {self.source} names it."
                )
        routes = Routes(rows=(*self.rows, *self._default(upstream=upstream, stand_in=stand_in)), aliases=self.aliases)
        self._check_aliases(routes)
        return routes

    def without_default(self) -> "ModelTables":
        """The same without routes for `*`."""
        return msgspec.structs.replace(self, rows=tuple(row for row in self.rows if row.model != "*"))

    def _default(self, *, upstream: bool, stand_in: bool) -> Iterable[Route]:
        if not upstream and not self.rows and len(self.upstreams) > 1:
            raise SettingError(
                f"There are {len(self.upstreams)} tables [upstreams.NAME] in {self.source} and no [[routes]] "
                "that say which of them answers."
            )
        if upstream:
            yield _everything_to(UPSTREAM)
        elif not self.rows and self.upstreams:
            yield _everything_to(*self.upstreams)
        elif not self.rows and stand_in:
            yield _everything_to(STAND_IN)

    def _check_aliases(self, routes: Routes) -> None:
        for alias, model in self.aliases.items():
            if model in self.aliases:
                why = "is an alias itself"
            elif not routes.places(alias):
                why = "no route takes"
            else:
                continue
            raise SettingError(f"The alias '{alias}' in {self.source} stands for '{model}', which {why}.")


def read(tables: Mapping[str, object], environ: Mapping[str, str], source: str) -> ModelTables:
    """The tables of a settings file, keys filled in as far as the environment has them. Raises `SettingError`.

    `source` names the file in errors.
    """
    upstreams = {
        name: _upstream(name, tree, environ, source)
        for name, tree in _tables(tables.get("upstreams", {}), "upstreams", source).items()
    }
    rows = tuple(
        _route(place, tree, source) for place, tree in enumerate(_list(tables.get("routes", []), "'routes'", source), 1)
    )
    aliases: dict[str, str] = {}
    for alias, model in _tables(tables.get("aliases", {}), "aliases", source).items():
        aliases[alias] = str(decode(model, NotEmpty, what=f"'{alias}' of [aliases]", source=source, strict=True))
    return ModelTables(upstreams=upstreams, rows=rows, aliases=aliases, source=source)


def _upstream(name: str, tree: object, environ: Mapping[str, str], source: str) -> UpstreamTable:
    table = f"[upstreams.{name}]"
    if name in (UPSTREAM, STAND_IN):
        raise SettingError(f"The name of {table} in {source} is taken: see docs/model-routes.md for what it means.")
    upstream = _row(UpstreamTable, tree, table, source)
    for quirk in upstream.quirks:
        if quirk not in QUIRKS:
            raise SettingError(
                f"There is no quirk '{quirk}', named in {table} in {source}; the nearest is '{nearest(quirk, QUIRKS)}'."
            )
    if upstream.api_key_env is None:
        return upstream
    if upstream.api_key is not None:
        raise SettingError(f"Only one of 'api_key' and 'api_key_env' can be given in {table} in {source}.")
    # Not being set is no error yet: `understudy keys` needs no model server's key.
    if not (text := environ.get(upstream.api_key_env, "")):
        return upstream
    what, whence = f"'api_key_env' of {table}", f"the environment variable {upstream.api_key_env}"
    key = decode(text, HeaderValue, what=what, source=whence, strict=True, secret=True)
    return msgspec.structs.replace(upstream, api_key=key)


def _route(place: int, tree: object, source: str) -> Route:
    table = f"[[routes]] number {place}"
    if not isinstance(tree, dict):
        raise _no_table(table, source)
    targets = _list(tree.get("to", []), f"'to' of {table}", source)
    to = tuple(_row(Target, target, f"'to' of {table}", source) for target in targets)
    if "to" in tree and not to:
        raise SettingError(f"The list 'to' of {table} in {source} is empty: no model server would answer.")
    return _row(Route, {**tree, **({"to": to} if to else {})}, table, source)


def _row(kind: type[_Row], tree: object, table: str, source: str) -> _Row:
    """A table as a struct; every key is decoded as its field says."""
    if not isinstance(tree, dict):
        raise _no_table(table, source)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in tree:
        if key not in fields:
            raise SettingError(
                f"There is no setting '{key}' in {table}, named in {source}; the nearest is '{nearest(key, fields)}'."
            )
    for name, field in fields.items():
        if field.required and name not in tree:
            raise SettingError(f"The setting '{name}' is missing in {table} in {source}.")
    values = {
        name: decode(
            value,
            value_type(fields[name].type),
            what=f"'{name}' of {table}",
            source=source,
            strict=True,
            secret=_is_secret(fields[name]),
        )
        for name, value in tree.items()
    }
    return kind(**values)


def _tables(tree: object, name: str, source: str) -> Mapping[str, object]:
    if not isinstance(tree, dict):
        raise _no_table(f"[{name}]", source)
    return tree


def _list(tree: object, what: str, source: str) -> list[object]:
    if not isinstance(tree, list):
        raise SettingError(f"The setting {what}, from {source}, must be a list of tables, not '{tree}'.")
    return tree


def _no_table(table: str, source: str) -> SettingError:
    return SettingError(f"What is given as {table} in {source} must be a table.")


def _is_secret(field: msgspec.structs.FieldInfo) -> bool:
    notes = getattr(field.type, "__metadata__", ())
    return any(note.extra is not None and note.extra.get("secret", False) for note in notes)


def _everything_to(*upstreams: str) -> Route:
    return Route(model="*", to=tuple(Target(upstream=name) for name in upstreams))
