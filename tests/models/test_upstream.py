from base64 import b64encode

import pytest

from understudy.models.upstream import Upstream


@pytest.mark.parametrize("base_url", ["http://host:1/v1", "http://host:1/v1/"])
def test_a_slash_at_the_end_of_the_base_url_makes_no_difference(base_url: str) -> None:
    assert str(Upstream(name="m", base_url=base_url).url("/chat/completions")) == "http://host:1/v1/chat/completions"


def test_a_base_url_without_path_is_taken_as_it_is() -> None:
    assert str(Upstream(name="m", base_url="http://host").url("/models")) == "http://host/models"


def test_the_base_urls_query_is_repeated_and_its_user_is_not() -> None:
    upstream = Upstream(name="m", base_url="https://me:pass%20word@host/a%2Fb/v1?api-version=2024-10-21")
    assert str(upstream.url("/models")) == "https://host/a%2Fb/v1/models?api-version=2024-10-21"
    assert upstream.request_headers()["authorization"] == "Basic " + b64encode(b"me:pass word").decode()


def test_a_key_goes_as_bearer_without_the_newline_of_the_file_it_came_from() -> None:
    upstream = Upstream(name="m", base_url="http://host/v1", api_key="sk-secret\n")
    assert upstream.request_headers()["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("api_key", [None, "", " "])
def test_without_a_key_there_is_no_authorization(api_key: str | None) -> None:
    assert "Authorization" not in Upstream(name="m", base_url="http://host/v1", api_key=api_key).request_headers()


def test_headers_of_the_setting_win() -> None:
    upstream = Upstream(
        name="m", base_url="http://h/v1", api_key="k", headers={"authorization": "Own x", "api-key": "y"}
    )
    headers = upstream.request_headers()
    assert headers["Authorization"] == "Own x"
    assert headers["api-key"] == "y"


@pytest.mark.parametrize("base_url", ["", "host/v1", "ftp://host/v1", "http:///v1"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url of model server 'm' must begin with"):
        Upstream(name="m", base_url=base_url)


def test_printing_an_upstream_shows_no_secret() -> None:
    upstream = Upstream(name="m", base_url="http://user:password@host/v1", api_key="sk-secret", headers={"x": "hidden"})
    assert repr(upstream) == str(upstream) == "Upstream(name='m')"


def test_secrets_are_the_key_the_credentials_and_the_headers_but_no_short_words() -> None:
    upstream = Upstream(
        name="m",
        base_url="http://someuser:password@host/v1?key=querykey",
        api_key="sk-secret",
        headers={"x-auth": "Token abcdefgh", "x-flag": "true"},
    )
    assert set(upstream.secrets()) == {
        "sk-secret", "someuser", "password", "querykey", "Token abcdefgh", "abcdefgh",
    }  # fmt: skip
