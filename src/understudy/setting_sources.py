"""Where the value of a setting comes from: flag, environment, file, default, in this order."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from understudy import model_tables
from understudy.model_tables import ModelTables
from understudy.setting_values import SettingError, decode, nearest
from understudy.settings import SETTINGS, Setting, Settings

__all__ = ["Loaded", "load"]

DEFAULT_FILE: Final = "understudy.toml"
CONFIG_ENV: Final = "UNDERSTUDY_CONFIG"


class Loaded(Struct, frozen=True):
    """The settings, and for each name where its value came from, in words."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    directory: Path | None = None,
) -> Loaded:
    """The settings of a process. Raises `SettingError`.

    `flags` maps names to values, `None` for a flag that was not given. `config` is the file of `--config`; without it
    and without UNDERSTUDY_CONFIG, an `understudy.toml` in `directory` (the working directory) is read if it exists.
    """
    file = _file(config, environ, directory or Path())
    tables = _read(file) if file is not None else {}
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        found = _find(setting, flags, environ, tables, file)
        if found is None:
            sources[setting.name] = "default"
        else:
            values[setting.name], sources[setting.name] = found
    models = ModelTables()
    if file is not None:
        models = model_tables.read(tables, environ, f"the file {file}")
        # Whoever names a server for this one start means it to answer what the file does not give to another by name.
        if sources["upstream_base_url"] not in ("default", f"the file {file}"):
            models = models.without_default()
    return Loaded(Settings(**values, models=models), sources)  # type: ignore[arg-type]  # decoded by the same table


def _find(
    setting: Setting,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    tables: Mapping[str, object],
    file: Path | None,
) -> tuple[object, str] | None:
    """The decoded value and its source; `None`: nobody gave one."""
    if (flag := flags.get(setting.name)) is not None:
        source = f"the flag {setting.flag}"
        return _decode(setting, flag, source, strict=False), source
    # Empty counts as not set: compose files and unit files pass on variables that nobody filled in.
    if (text := environ.get(setting.env, "")) and not _is_service_link(setting, text):
        source = f"the environment variable {setting.env}"
        return _decode(setting, text, source, strict=False), source
    if setting.name in tables:
        source = f"the file {file}"
        return _decode(setting, tables[setting.name], source, strict=True), source
    return None


def _is_service_link(setting: Setting, text: str) -> bool:
    # Kubernetes sets UNDERSTUDY_PORT=tcp://10.0.0.1:80 in every pod beside a service named `understudy`.
    return setting.name == "port" and text.startswith("tcp://")


def _file(config: Path | None, environ: Mapping[str, str], directory: Path) -> Path | None:
    named = config or (Path(environ[CONFIG_ENV]) if environ.get(CONFIG_ENV) else None)
    if named is not None:
        return named
    usual = directory / DEFAULT_FILE
    return usual if usual.is_file() else None


def _read(file: Path) -> dict[str, object]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingError(f"The settings file {file} is no valid TOML: {error}.") from error
    names = [*(setting.name for setting in SETTINGS), *model_tables.NAMES]
    for key in tables:
        if key not in names:
            raise SettingError(
                f"There is no setting '{key}', named in the file {file}; the nearest is '{nearest(key, names)}'."
            )
    return tables


def _decode(setting: Setting, value: object, source: str, *, strict: bool) -> object:
    return decode(value, setting.type, what=f"'{setting.name}'", source=source, strict=strict, secret=setting.secret)
