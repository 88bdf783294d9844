"""API keys: made once, shown once, kept as SHA-256; and who a request is from.

The first key is the exception: it is also kept in a file that only its owner can read, so that the server can say at
every start how to reach it, and `understudy chat` needs no key typed.
"""

import hashlib
import hmac
import os
import secrets
import string
from collections import OrderedDict
from pathlib import Path
from typing import Final

from understudy.core.ids import ProjectId
from understudy.ports import Clock, Store, StoredKey

__all__ = ["DEFAULT_PROJECT", "FIRST_KEY_FILE", "Authenticator", "Keys", "digest", "read_first_key"]

DEFAULT_PROJECT: Final = ProjectId("default")
FIRST_KEY_FILE: Final = "api-key"
FIRST_KEY_NAME: Final = "first key"

_PREFIX: Final = "sk-understudy-"
_KEY_LENGTH: Final = 40  # of 62 characters: 238 bits
_ID_LENGTH: Final = 24
_HINT_LENGTH: Final = len(_PREFIX) + 4
_BASE62: Final = string.ascii_letters + string.digits
_CACHE_MAX: Final = 4_096
_CACHE_SECONDS: Final = 3.0


def digest(key: str) -> bytes:
    """The key's SHA-256. No salt and no stretching: a key is random, not a password."""
    return hashlib.sha256(key.encode()).digest()


class Keys:
    """Makes keys. `clock` is wall time, in Unix seconds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, name: str, project: ProjectId) -> tuple[StoredKey, str]:
        """What is stored, and the key itself, which nobody can be told again."""
        plain = _PREFIX + _random(_KEY_LENGTH)
        return await self._add(plain, name, project), plain

    async def ensure_first_key(self, data_dir: Path) -> str:
        """The key in `<data_dir>/api-key`, made if there is none, or if it was revoked.

        Several processes may ask for the first key at once: all of them get the same one. Raises `OSError`.
        """
        plain = read_first_key(data_dir)
        stored = await self._store.key_by_digest(digest(plain)) if plain is not None else None
        if plain is not None and stored is not None and stored.revoked_at is None:
            return plain
        if plain is None or stored is not None:
            file = data_dir / FIRST_KEY_FILE
            plain = _write_first_key(file, stale=file.exists() if plain is None else True)
            stored = await self._store.key_by_digest(digest(plain))
        if stored is None:
            await self._add_first(plain)
        return plain

    async def _add_first(self, plain: str) -> None:
        try:
            await self._add(plain, FIRST_KEY_NAME, DEFAULT_PROJECT)
        except Exception:
            # Every engine has its own word for a digest that is there already. It is, when another process was faster.
            if await self._store.key_by_digest(digest(plain)) is None:
                raise

    async def _add(self, plain: str, name: str, project: ProjectId) -> StoredKey:
        key = StoredKey(
            id="key_" + _random(_ID_LENGTH),
            name=name,
            hint=plain[:_HINT_LENGTH],
            digest=digest(plain),
            project=project,
            created_at=int(self._clock()),
        )
        await self._store.add_key(key)
        return key


class Authenticator:
    """Which project a key opens.

    An answer from the store is believed for `ttl` seconds, so that is how long a key that another process revoked goes
    on working here. Wrong keys are looked up each time.
    """

    def __init__(self, store: Store, fixed_key: str | None, clock: Clock, ttl: float = _CACHE_SECONDS) -> None:
        self._store = store
        self._fixed = digest(fixed_key) if fixed_key else None
        self._clock = clock
        self._ttl = ttl
        self._known: OrderedDict[bytes, tuple[ProjectId, float]] = OrderedDict()  # oldest answer first

    async def project(self, key: str) -> ProjectId | None:
        """`None`: no such key, or revoked."""
        asked = digest(key)
        if self._fixed is not None and hmac.compare_digest(asked, self._fixed):
            return DEFAULT_PROJECT
        now = self._clock()
        known = self._known.get(asked)
        # Both bounds: a clock that was set back must not prolong an answer.
        if known is not None and 0 < known[1] - now <= self._ttl:
            return known[0]
        stored = await self._store.key_by_digest(asked)
        self._known.pop(asked, None)
        if stored is None or stored.revoked_at is not None:
            return None
        self._known[asked] = (stored.project, now + self._ttl)
        if len(self._known) > _CACHE_MAX:
            self._known.popitem(last=False)
        return stored.project


def read_first_key(data_dir: Path) -> str | None:
    """The key in `<data_dir>/api-key`; `None`: there is no such file, or it is empty. Raises `OSError`."""
    try:
        return (data_dir / FIRST_KEY_FILE).read_text("utf-8", "replace").strip() or None
    except FileNotFoundError:
        return None


def _write_first_key(file: Path, *, stale: bool) -> str:
    """The key that is in the file afterwards: a fresh one, or that of whoever was faster."""
    plain = _PREFIX + _random(_KEY_LENGTH)
    # Written aside and then put in place: nobody ever reads half a key. `link` lets only one of several processes win.
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}-{_random(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(plain + "\n")
            out.flush()
            os.fsync(out.fileno())
        if stale or not _link(aside, file):
            aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
    return read_first_key(file.parent) or plain


def _link(aside: Path, file: Path) -> bool:
    """False: this file system has no hard links."""
    try:
        os.link(aside, file)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))
