"""The pages that are generated: docs/settings.md from the table of settings, docs/cli.md from the commands.

`python -m understudy.cli.docs` writes both into ./docs; a test fails when they are not what this module says.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from understudy.cli.main import commands
from understudy.model_tables import ModelTables, UpstreamTable
from understudy.models.quirks import QUIRKS
from understudy.setting_sources import Loaded
from understudy.setting_values import value_type, words_for
from understudy.settings import SETTINGS, Group, Setting

__all__ = ["PAGES", "cli_page", "commands_of", "settings_page", "settings_table"]

_SETTINGS_HEAD: Final = """\
# Settings

This page is generated from the table in `src/understudy/settings.py` by `make docs`.

Every setting can be given in four places; the first that has it wins:

1. a flag of `understudy serve`, as in `--port 8080`;
2. an environment variable, as in `UNDERSTUDY_PORT=8080` (an empty one counts as not set);
3. a key in one TOML file, as in `port = 8080`: the file named by `--config` or `UNDERSTUDY_CONFIG`, else
   `understudy.toml` in the working directory; a key that is no setting is an error;
4. the default.

Paths are relative to the working directory, and `~` is the home directory. `understudy settings` shows the values in
effect and where each comes from.
"""

_TABLES_HEAD: Final = """\
## Tables of the settings file

Several model servers, and which of them answers to which model name: [model-routes.md](model-routes.md) tells how these
work together. They have no flags and no environment variables.

`[upstreams.NAME]`, a model server:

| key | takes | default | what it does |
|---|---|---|---|"""

_TABLES_MORE: Final = """\

`[[routes]]`, in order: `model`, a name or a pattern of names; `to`, a list of `{ upstream = "NAME", model = "..." }`.

`[aliases]`: a name, and the name of the model that it stands for.

`quirks` are changes to what runs send to a model server that cannot take it:

| quirk | why |
|---|---|"""

_CLI_HEAD: Final = """\
# Commands

This page is generated from the commands themselves by `make docs`. Every command explains itself with `--help`, and
those that read settings take `--config FILE` and the settings' flags: see [settings.md](settings.md).
`understudy --version` shows the version.
"""


def settings_page() -> str:
    """docs/settings.md."""
    parts = [_SETTINGS_HEAD]
    for group in Group:
        parts += [f"## {group.value}", "", "| setting | takes | default | what it does |", "|---|---|---|---|"]
        parts += [_row(setting) for setting in SETTINGS if setting.group is group]
        parts.append("")
    parts += [_TABLES_HEAD, *_upstream_rows(), _TABLES_MORE]
    parts += [f"| `{name}` | {quirk.why} |" for name, quirk in QUIRKS.items()]
    return "\n".join(parts) + "\n"


def _upstream_rows() -> Iterator[str]:
    for field in msgspec.structs.fields(UpstreamTable):
        about = field.type.__metadata__[-1]
        value = field.default if field.default is not msgspec.NODEFAULT else None
        default = "required" if field.required else f"`{value}`" if value else "not set"
        what = about.description + (" It is never shown." if about.extra["secret"] else "")
        yield f"| `{field.name}` | {words_for(value_type(field.type))} | {default} | {what} |"


def _row(setting: Setting) -> str:
    names = f"`{setting.name}`<br>`{setting.env}`<br>`{_spelling(setting)}`"
    default = f"`{setting.default_words}`" if setting.default else setting.default_words
    what = setting.description + (" It is never shown." if setting.secret else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (names, setting.words, default, what)) + " |"


def _spelling(setting: Setting) -> str:
    return f"{setting.flag}` / `--no-{setting.flag[2:]}" if setting.is_switch else f"{setting.flag} {setting.metavar}"


def settings_table(loaded: Loaded) -> str:
    """The values in effect as the TOML of a settings file, each with its source; what is not set is commented out."""
    rows = []
    for name, value in loaded.settings.shown().items():
        line = f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"
        rows.append((line, loaded.sources[name]))
    width = max(len(line) for line, _ in rows)
    flat = "".join(f"{line.ljust(width)}  # {source}\n" for line, source in rows)
    return flat + "".join(f"{line}\n" for line in _tables(loaded.settings.models))


def _tables(models: ModelTables) -> Iterator[str]:
    if models != ModelTables():
        yield f"\n# The tables are from {models.source}"
    for name, upstream in models.upstreams.items():
        yield f"\n[upstreams.{_key(name)}]"
        for key, value in upstream.shown().items():
            yield f"{key} = {_toml(value)}"
    for route in models.rows:
        targets = [{"upstream": target.upstream, "model": target.model} for target in route.to]
        yield f"\n[[routes]]\nmodel = {_toml(route.model)}\nto = [{', '.join(map(_inline, targets))}]"
    if models.aliases:
        yield "\n[aliases]"
        for alias, model in models.aliases.items():
            yield f"{_key(alias)} = {_toml(model)}"


def _inline(table: Mapping[str, str | None]) -> str:
    return "{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in table.items() if value is not None) + " }"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    return "{}" if value == {} else json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def cli_page() -> str:
    """docs/cli.md."""
    parts = [_CLI_HEAD]
    for name, command in commands_of():
        parts += [f"## `{name}`", "", (command.help or "").strip(), ""]
        rows = list(_parameters(command))
        if rows:
            parts += ["| parameter | what it does |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def commands_of() -> Iterator[tuple[str, TyperCommand]]:
    """Every command that can be typed, by its full name, in the order of `--help`."""
    yield from _leaves("understudy", typer.main.get_command(commands()))


def _leaves(name: str, command: object) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for word, inner in command.commands.items():
            yield from _leaves(f"{name} {word}", inner)
    elif isinstance(command, TyperCommand):
        yield name, command


def _parameters(command: TyperCommand) -> Iterator[str]:
    """The parameters that are no settings, as rows."""
    for parameter in command.params:
        if isinstance(parameter, TyperOption):
            if "UNDERSTUDY_" in (parameter.help or ""):
                continue
            metavar = f" {parameter.metavar}" if parameter.metavar else ""
            yield f"| `{parameter.opts[0]}{metavar}` | {parameter.help} |"
        elif isinstance(parameter, TyperArgument):
            yield f"| `{str(parameter.name).upper()}` | {parameter.help} |"


PAGES: Final[Mapping[str, Callable[[], str]]] = {"settings.md": settings_page, "cli.md": cli_page}


def main() -> None:
    """Writes the pages."""
    for name, page in PAGES.items():
        path = Path("docs") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(page(), "utf-8")
        print(path)


if __name__ == "__main__":
    main()
