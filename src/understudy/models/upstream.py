"""What is known of a model server before it is asked anything: where it is, its key, what it cannot take."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from multidict import CIMultiDict
from yarl import URL

from understudy.core import limits

_SECRET_LENGTH_MIN: Final = 6  # shorter values ("v1", "true") are no secrets, and hiding them would garble messages


class Upstream(Struct, frozen=True, kw_only=True):
    """A model server. `base_url` is what an OpenAI client is given: with `/v1`, with or without a slash at its end.

    `base_url` may carry a user and password, and a query that every request repeats. `headers` are sent with every
    request and win over our own. `quirks` are names of `models.quirks.QUIRKS`. Raises `ValueError` for a base URL that
    is none.
    """

    name: str
    base_url: str
    api_key: str | None = None
    headers: dict[str, str] = {}
    context_window_tokens: int = limits.CONTEXT_WINDOW_TOKENS
    connect_seconds: float = limits.UPSTREAM_CONNECT_SECONDS
    silence_seconds: float = limits.UPSTREAM_SILENCE_SECONDS
    quirks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        url = URL(self.base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"base_url of model server {self.name!r} must begin with http:// or https:// and a host")

    def __repr__(self) -> str:
        return f"Upstream(name={self.name!r})"  # the generated one would print the key

    def url(self, path: str) -> URL:
        """Where `path` (as in `/chat/completions`) is answered, without user and password."""
        base = URL(self.base_url)
        whole = base.with_path(base.raw_path.rstrip("/") + path, encoded=True).with_query(base.query)
        return whole.with_user(None)

    def request_headers(self) -> Mapping[str, str]:
        """Headers of every request, `Authorization` among them where there is a key or a user."""
        # Compressing proxies hold tokens back until they have a block's worth: ask for none of it.
        headers = CIMultiDict({"User-Agent": "understudy", "Accept-Encoding": "identity"})
        base = URL(self.base_url)
        if self.api_key and self.api_key.strip():
            headers["Authorization"] = f"Bearer {self.api_key.strip()}"
        elif base.user:
            headers["Authorization"] = "Basic " + b64encode(f"{base.user}:{base.password or ''}".encode()).decode()
        for name, value in self.headers.items():
            headers[name] = value
        return headers

    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat, longest first: the key, the URL's credentials, the values of own headers."""
        base = URL(self.base_url)
        known = [self.api_key or "", base.user or "", base.password or "", *base.query.values()]
        for value in self.headers.values():
            known += [value, *value.split()]
        found = {secret.strip() for secret in known if len(secret.strip()) >= _SECRET_LENGTH_MIN}
        return tuple(sorted(found, key=len, reverse=True))
