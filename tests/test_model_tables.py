"""Tables of the settings file: what is read, what is refused in which words, and what together they mean."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.app import create_app
from understudy.cli.banner import banner
from understudy.cli.main import commands
from understudy.models.routes import Place
from understudy.setting_sources import Loaded, load
from understudy.settings import SettingError, Settings

PAGE = Path(__file__).parents[1] / "docs" / "model-routes.md"
TWO = "[upstreams.a]\nbase_url = 'http://a/v1'\n[upstreams.b]\nbase_url = 'http://b/v1'\n"
TO_A = "[[routes]]\nmodel = 'm'\nto = [{ upstream = 'a' }]\n"
ENV = {"UNDERSTUDY_UPSTREAM_BASE_URL": "http://env/v1"}


def loaded(directory: Path, file: str, env: dict[str, str] | None = None, **flags: object) -> Loaded:
    (directory / "understudy.toml").write_text(file)
    return load(flags, env or {}, directory=directory)


def refused(directory: Path, file: str, env: dict[str, str] | None = None, **flags: object) -> str:
    """The sentence, with the file's place left out."""
    with pytest.raises(SettingError) as caught:
        loaded(directory, file, env, **flags).settings.routes()
    return str(caught.value).replace(f"the file {directory / 'understudy.toml'}", "FILE")


def example() -> str:
    [found] = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return str(found)


def places(settings: Settings, *names: str) -> list[list[str]]:
    routes = settings.routes()
    return [[f"{place.model} at {place.upstream}" for place in routes.places(name)] for name in names]


def test_the_example_of_the_docs_does_what_they_say(tmp_path: Path) -> None:
    settings = loaded(tmp_path, example(), {"BIG_KEY": "sk-big"}).settings
    big = settings.models.upstreams["big"]
    assert (big.api_key, big.quirks) == ("sk-big", ("max_completion_tokens",))
    assert places(settings, "gpt-4-1106-preview", "gpt-4o", "fast", "other") == [
        ["qwen3-32b at big", "llama3.1 at local"],
        ["qwen3-32b at big"],
        ["llama3.1 at local"],
        ["other at local"],
    ]


def test_everything_that_a_table_can_have_is_read(tmp_path: Path) -> None:
    keys = "api_key = 'k'\ncontext_window = 4096\nconnect_seconds = 1\nsilence_seconds = 2.5\nquirks = ['text_only']\n"
    file = f"[upstreams.a]\nbase_url = 'https://a/v1'\n{keys}headers = {{ X-Team = 'red' }}\n"
    a = loaded(tmp_path, file).settings.models.upstreams["a"]
    assert (a.base_url, a.api_key, a.context_window) == ("https://a/v1", "k", 4096)
    assert (a.connect_seconds, a.silence_seconds, a.quirks) == (1.0, 2.5, ("text_only",))
    assert a.headers == {"X-Team": "red"}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("[upstreams]\na = 1", "What is given as [upstreams.a] in FILE must be a table."),
        ("upstreams = 1", "What is given as [upstreams] in FILE must be a table."),
        (
            "[upstreams.a]\nbase_ulr = 'http://a'",
            "There is no setting 'base_ulr' in [upstreams.a], named in FILE; the nearest is 'base_url'.",
        ),
        ("[upstreams.a]\napi_key = 'k'", "The setting 'base_url' is missing in [upstreams.a] in FILE."),
        (
            "[upstreams.a]\nbase_url = 'a:80'",
            "The setting 'base_url' of [upstreams.a], from FILE, must be a URL that begins with http:// or https://, "
            "not 'a:80'.",
        ),
        (
            TWO + "connect_seconds = '5'",
            "The setting 'connect_seconds' of [upstreams.b], from FILE, must be seconds, more than 0 and at most a "
            "day, not '5'.",
        ),
        (
            TWO + 'api_key = "hush\\n"',
            "The setting 'api_key' of [upstreams.b], from FILE, must be printable ASCII, not something else.",
        ),
        (
            TWO + "headers = 'hush'",
            "The setting 'headers' of [upstreams.b], from FILE, must be a table of header names and their values, "
            "not something else.",
        ),
        (
            TWO + "quirks = 'text_only'",
            "The setting 'quirks' of [upstreams.b], from FILE, must be a list of names of quirks, not 'text_only'.",
        ),
        (
            TWO + "quirks = ['text_onyl']",
            "There is no quirk 'text_onyl', named in [upstreams.b] in FILE; the nearest is 'text_only'.",
        ),
        (
            TWO + "api_key = 'x'\napi_key_env = 'Y'",
            "Only one of 'api_key' and 'api_key_env' can be given in [upstreams.b] in FILE.",
        ),
        (
            "[upstreams.stand-in]\nbase_url = 'http://a'",
            "The name of [upstreams.stand-in] in FILE is taken: see docs/model-routes.md for what it means.",
        ),
        ("routes = 'all'", "The setting 'routes', from FILE, must be a list of tables, not 'all'."),
        ("routes = ['all']", "What is given as [[routes]] number 1 in FILE must be a table."),
        (TWO + TO_A + "[[routes]]\nmodel = 'n'", "The setting 'to' is missing in [[routes]] number 2 in FILE."),
        (
            TWO + "[[routes]]\nmodel = 'n'\nto = []",
            "The list 'to' of [[routes]] number 1 in FILE is empty: no model server would answer.",
        ),
        (
            TWO + "[[routes]]\nto = [{ upstream = 'a' }]",
            "The setting 'model' is missing in [[routes]] number 1 in FILE.",
        ),
        (
            TWO + "[[routes]]\nmodel = 'n'\nto = [{ upsteam = 'a' }]",
            "There is no setting 'upsteam' in 'to' of [[routes]] number 1, named in FILE; the nearest is 'upstream'.",
        ),
        (
            TWO + "[[routes]]\nmodel = 'n'\nto = [{ upstream = 'a', model = '' }]",
            "The setting 'model' of 'to' of [[routes]] number 1, from FILE, must be a text that is not empty, not ''.",
        ),
        (
            TWO + TO_A + "[[routes]]\nmodel = 'n'\nto = [{ upstream = 'c' }, { upstream = 'aa' }]",
            "The upstream 'c', named in [[routes]] number 2 in FILE, does not exist; the nearest is 'stand-in'.",
        ),
        (TWO, "There are 2 tables [upstreams.NAME] in FILE and no [[routes]] that say which of them answers."),
        (
            TO_A + "[aliases]\nfast = 3",
            "The setting 'fast' of [aliases], from FILE, must be a text that is not empty, not '3'.",
        ),
        (TWO + TO_A + "[aliases]\nfast = 'n'", "The alias 'fast' in FILE stands for 'n', which no route takes."),
        (
            TWO + TO_A + "[aliases]\nfast = 'quick'\nquick = 'm'",
            "The alias 'fast' in FILE stands for 'quick', which is an alias itself.",
        ),
    ],
)
def test_a_fault_is_one_sentence_that_names_table_and_key(tmp_path: Path, file: str, said: str) -> None:
    assert refused(tmp_path, file) == said


def test_a_key_is_taken_from_the_environment_and_missed_only_when_a_server_starts(tmp_path: Path) -> None:
    file = "[upstreams.a]\nbase_url = 'http://a/v1'\napi_key_env = 'A_KEY'\n"
    assert loaded(tmp_path, file, {"A_KEY": "k"}).settings.models.upstreams["a"].api_key == "k"
    for env in ({}, {"A_KEY": ""}):
        assert loaded(tmp_path, file, env).settings.models.upstreams["a"].api_key is None
        assert refused(tmp_path, file, env) == (
            "The environment variable A_KEY is not set, though 'api_key_env' of [upstreams.a] in FILE names it."
        )
    assert refused(tmp_path, file, {"A_KEY": "hush\n"}) == (
        "The setting 'api_key_env' of [upstreams.a], from the environment variable A_KEY, must be printable ASCII, "
        "not something else."
    )


def test_a_server_with_tables_that_do_not_fit_is_not_made(tmp_path: Path) -> None:
    settings = loaded(tmp_path, TWO + "api_key_env = 'NOBODY_SETS_THIS'\n" + TO_A).settings
    with pytest.raises(SettingError, match="NOBODY_SETS_THIS is not set"):
        create_app(settings)


# --- the default route


def test_the_single_settings_are_an_upstream_and_the_default_route(tmp_path: Path) -> None:
    settings = load({"upstream_base_url": "http://x/v1"}, {}, directory=tmp_path).settings
    assert places(settings, "any") == [["any at upstream"]]
    settings = loaded(tmp_path, f"upstream_base_url = 'http://x/v1'\n{TWO}{TO_A}").settings
    assert places(settings, "m", "any") == [["m at a"], ["any at upstream"]]
    named = TWO + "[[routes]]\nmodel = 'm'\nto = [{ upstream = 'a' }, { upstream = 'upstream', model = 'n' }]"
    assert places(loaded(tmp_path, named, ENV).settings, "m") == [["m at a", "n at upstream"]]


def test_a_server_named_for_this_start_beats_the_default_route_of_the_file(tmp_path: Path) -> None:
    default = "[[routes]]\nmodel = '*'\nto = [{ upstream = 'b' }]\n"
    assert places(loaded(tmp_path, TWO + TO_A + default).settings, "m", "any") == [["m at a"], ["any at b"]]
    both = loaded(tmp_path, f"upstream_base_url = 'http://x/v1'\n{TWO}{TO_A}{default}").settings
    assert places(both, "m", "any") == [["m at a"], ["any at b"]]
    for settings in (
        loaded(tmp_path, TWO + TO_A + default, ENV).settings,
        loaded(tmp_path, TWO + TO_A + default, upstream_base_url="http://flag/v1").settings,
    ):
        assert places(settings, "m", "any") == [["m at a"], ["any at upstream"]]


def test_one_upstream_without_routes_answers_to_every_name(tmp_path: Path) -> None:
    one = loaded(tmp_path, "[upstreams.a]\nbase_url = 'http://a/v1'\n").settings
    assert places(one, "any") == [["any at a"]]
    assert places(loaded(tmp_path, TWO, ENV).settings, "any") == [["any at upstream"]]


def test_the_stand_in_answers_alone_or_where_a_route_names_it(tmp_path: Path) -> None:
    assert places(Settings(), "any") == [["any at stand-in"]]
    assert places(Settings(local_model=False), "any") == [[]]
    route = "[[routes]]\nmodel = 'm*'\nto = [{ upstream = 'stand-in' }]\n"
    assert places(loaded(tmp_path, route).settings, "mini", "any") == [["mini at stand-in"], []]
    assert refused(tmp_path, route, local_model=False) == (
        "The upstream 'stand-in', named in [[routes]] number 1 in FILE, does not exist; there is none."
    )


# --- shown


def test_settings_shows_the_tables_as_a_file_that_could_be_read_again(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    more = "[upstreams.'c d']\nbase_url = 'http://me:hush@c/v1'\napi_key = 'hush'\nheaders = { A = 'hush' }\n"
    config.write_text(example() + "'gpt-4.1' = 'x'\n" + more)
    said = CliRunner().invoke(commands(), ["settings", "--config", str(config)], env={"BIG_KEY": "hush"})
    assert said.exit_code == 0
    assert "hush" not in said.output
    tables, written = tomllib.loads(said.output), tomllib.loads(config.read_text())
    assert (tables["routes"], tables["aliases"]) == (written["routes"], written["aliases"])
    assert tables["upstreams"]["big"] == written["upstreams"]["big"]
    assert tables["upstreams"]["c d"] == {"base_url": "http://***@c/v1", "api_key": "***", "headers": "***"}


def test_secrets_of_tables_are_never_printed(tmp_path: Path) -> None:
    got = loaded(tmp_path, "[upstreams.a]\nbase_url = 'http://a/v1'\napi_key = 'hush'\nheaders = { A = 'hush' }\n")
    models = got.settings.models
    assert "hush" not in f"{got!r} {models!r} {models.upstreams['a'].__rich_repr__()}"


def test_the_banner_names_routes_and_servers(tmp_path: Path) -> None:
    text = banner(loaded(tmp_path, example(), {"BIG_KEY": "hush"}), port=1, first_key="k")
    assert (
        "Models, by the first name that fits:\n"
        "  gpt-4-1106-preview  qwen3-32b at big, then llama3.1 at local\n"
        "  gpt-4*              qwen3-32b at big\n"
        "  *                   the same name at local\n"
        "  fast                as llama3.1\n"
        "There local is http://127.0.0.1:11434/v1, big is https://models.example.com/v1.\n"
    ) in text
    many = TWO + TO_A + "".join(TO_A.replace("'m'", f"'m{number}'") for number in range(11))
    assert "\n  and 2 more: `" in banner(loaded(tmp_path, many), port=1, first_key="k")


def test_patterns_are_tried_from_top_to_bottom_and_tell_upper_from_lower_case(tmp_path: Path) -> None:
    rows = [("gpt-4o", "a"), ("gpt-4*", "b"), ("gpt-[35]?", "a"), ("*-mini", "b")]
    file = TWO + "".join(f"[[routes]]\nmodel = '{model}'\nto = [{{ upstream = '{to}' }}]\n" for model, to in rows)
    routes = loaded(tmp_path, file).settings.routes()
    asked = ("gpt-4o", "gpt-4o-mini", "gpt-5x", "gpt-5xx", "o1-mini", "GPT-4O", "")
    found = [[place.upstream for place in routes.places(name)] for name in asked]
    assert found == [["a"], ["b"], ["a"], [], ["b"], [], []]
    assert routes.places("gpt-4o") == [Place("a", "gpt-4o")]
    assert routes.names() == ["gpt-4o"]
