"""Settings as flags: the table in `settings.py` becomes parameters that typer understands."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from understudy.setting_sources import load
from understudy.settings import SETTINGS, Group, Setting

__all__ = ["with_settings"]

ALL: Final = tuple(setting.name for setting in SETTINGS)
_OWN_PANEL: Final = "Options"  # typer's word for what has no heading


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose first parameter is the `Loaded` settings gets `--config` and a flag for each setting instead.

    Values arrive as text and are decoded with the table, so that flag, environment and file fail in the same words.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(*, config: Path | None, **given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            command(load(flags, os.environ, config=config), **given)

        own = list(inspect.signature(command).parameters.values())[1:]
        flags = [_parameter(setting) for setting in SETTINGS if setting.name in names]
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        wrapper.__signature__ = inspect.Signature([*keyword, *flags, _CONFIG])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {}  # typer would read the wrapped command's
        return wrapper

    return decorate


def _parameter(setting: Setting) -> inspect.Parameter:
    spelling = f"{setting.flag}/--no-{setting.flag[2:]}" if setting.is_switch else setting.flag
    option = typer.Option(
        spelling,
        help=f"{setting.description} ({setting.env}, default: {setting.default_words})",
        metavar=None if setting.is_switch else setting.metavar,
        show_default=False,
        rich_help_panel=_OWN_PANEL if setting.group is Group.FIRST else setting.group.value,
    )
    kind: Any = Annotated[bool | None if setting.is_switch else str | None, option]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


_CONFIG: Final = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            help="TOML file of settings. (UNDERSTUDY_CONFIG, default: understudy.toml here, if there is one)",
            metavar="FILE",
            show_default=False,
        ),
    ],
)
