"""Settings: where a value comes from, and what is said when it cannot be used."""

from pathlib import Path

import pytest

from understudy.setting_sources import Loaded, load
from understudy.settings import SETTINGS, SettingError, Settings


def loaded(directory: Path, *, file: str | None = None, env: dict[str, str] | None = None, **flags: object) -> Loaded:
    if file is not None:
        (directory / "understudy.toml").write_text(file)
    return load(flags, env or {}, directory=directory)


def refused(directory: Path, **where: object) -> str:
    with pytest.raises(SettingError) as caught:
        loaded(directory, **where)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = "port = 1\nlog_level = 'error'\nrun_lifetime_seconds = 5\n"
    env = {"UNDERSTUDY_PORT": "2", "UNDERSTUDY_LOG_LEVEL": "debug"}
    got = loaded(tmp_path, file=file, env=env, port="3", log_level=None)
    settings = got.settings
    assert (settings.port, settings.log_level, settings.run_lifetime_seconds) == (3, "debug", 5)
    assert settings.log_format == "auto"
    assert got.sources["port"] == "the flag --port"
    assert got.sources["log_level"] == "the environment variable UNDERSTUDY_LOG_LEVEL"
    assert got.sources["run_lifetime_seconds"] == f"the file {tmp_path / 'understudy.toml'}"
    assert got.sources["log_format"] == "default"


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path).settings == Settings()


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    env = {"UNDERSTUDY_UPSTREAM_BASE_URL": "", "UNDERSTUDY_API_KEY": ""}
    assert loaded(tmp_path, env=env).settings == Settings()


def test_the_port_that_kubernetes_sets_beside_a_service_is_not_ours(tmp_path: Path) -> None:
    env = {"UNDERSTUDY_PORT": "tcp://10.0.0.1:80", "UNDERSTUDY_SERVICE_HOST": "10.0.0.1"}
    assert loaded(tmp_path, env=env).settings.port == 8000


def test_headers_are_a_table_in_the_file_and_json_in_the_environment(tmp_path: Path) -> None:
    table = loaded(tmp_path, file="[upstream_headers]\nX-Team = 'red'\n")
    assert table.settings.upstream_headers == {"X-Team": "red"}
    json = loaded(tmp_path, env={"UNDERSTUDY_UPSTREAM_HEADERS": '{"X-Team": "blue"}'})
    assert json.settings.upstream_headers == {"X-Team": "blue"}


def test_the_data_dir_honours_xdg_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert loaded(tmp_path).settings.data_dir == tmp_path / ".local/share/understudy"
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert loaded(tmp_path).settings.data_dir == Path("/somewhere/understudy")
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    assert loaded(tmp_path).settings.data_dir == tmp_path / ".local/share/understudy"
    assert loaded(tmp_path, data_dir="~/mine").settings.data_dir == tmp_path / "mine"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("port", "http", "a port number from 0 to 65535, not 'http'"),
        ("port", "65536", "a port number from 0 to 65535, not '65536'"),
        ("worker", "maybe", "true or false, not 'maybe'"),
        ("unknown_keys", "keep", '"refuse" or "drop", not \'keep\''),
        ("upstream_base_url", "localhost:11434", "a URL that begins with http:// or https://, not 'localhost:11434'"),
        ("run_lifetime_seconds", "2592001", "whole seconds from 1 to 2592000 (30 days), not '2592001'"),
        ("upstream_silence_seconds", "nan", "seconds, more than 0 and at most a day, not 'nan'"),
        ("organization", "a\nb", "printable ASCII, not 'a\nb'"),
        ("upstream_headers", "X-Team: red", 'header names and their values, in the environment as {"name": "value"}'),
        ("data_dir", "\0", "a path, not '\0'"),
        ("data_dir", "~nobody-has-this-name/x", "a path, not '~nobody-has-this-name/x'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_name_source_and_what_was_expected(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    said = refused(tmp_path, env={f"UNDERSTUDY_{name.upper()}": text})
    source = f"the environment variable UNDERSTUDY_{name.upper()}"
    assert said.startswith(f"The setting '{name}', from {source}, must be {expected}")


def test_the_file_is_strict_about_types(tmp_path: Path) -> None:
    assert "must be a port number" in refused(tmp_path, file="port = '8000'")
    assert loaded(tmp_path, file="upstream_connect_seconds = 5").settings.upstream_connect_seconds == 5.0


def test_an_unknown_key_names_itself_and_the_nearest_setting(tmp_path: Path) -> None:
    file = tmp_path / "understudy.toml"
    assert refused(tmp_path, file="upstream_url = 'http://x/v1'") == (
        f"There is no setting 'upstream_url', named in the file {file}; the nearest is 'upstream_base_url'."
    )


def test_a_file_that_is_named_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nowhere\.toml cannot be read: No such file"):
        load({}, {}, config=tmp_path / "nowhere.toml")
    with pytest.raises(SettingError, match=r"nowhere\.toml cannot be read"):
        load({}, {"UNDERSTUDY_CONFIG": str(tmp_path / "nowhere.toml")})
    assert "is no valid TOML" in refused(tmp_path, file="port = ")


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    env = {
        "UNDERSTUDY_API_KEY": "hush-1",
        "UNDERSTUDY_UPSTREAM_API_KEY": "hush-2",
        "UNDERSTUDY_UPSTREAM_HEADERS": '{"Authorization": "hush-3"}',
    }
    got = loaded(tmp_path, env=env)
    settings = got.settings
    assert settings.upstream_api_key == "hush-2"
    assert "hush" not in f"{got!r} {settings} {settings.__rich_repr__()} {settings.shown()}"
    assert "hush" not in refused(tmp_path, env={"UNDERSTUDY_UPSTREAM_HEADERS": "hush"})
    assert "hush" not in refused(tmp_path, env={"UNDERSTUDY_API_KEY": "hush\n"})


def test_every_setting_has_a_sentence_and_a_default_that_it_accepts(tmp_path: Path) -> None:
    for setting in SETTINGS:
        assert setting.description[0].isupper(), setting.name
        assert setting.description.endswith("."), setting.name
    shown = {name: str(value) for name, value in Settings().shown().items() if value not in (None, {})}
    assert load(shown, {}).settings == Settings()
