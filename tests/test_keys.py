"""Keys: how they are made and kept, and whom they let in."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from understudy.core.ids import ProjectId
from understudy.keys import DEFAULT_PROJECT, Authenticator, Keys, digest, read_first_key
from understudy.ports import Store, StoredKey
from understudy.store.sqlite import open_sqlite

NOON = 1_760_000_000.0


def clock() -> float:
    return NOON


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path / "understudy.db")
    yield opened
    await opened.close()


def names(directory: Path) -> list[str]:
    """Without SQLite's own files beside the database."""
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("understudy.db-"))


class HandClock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> float:
        return self.at


async def test_a_new_key_is_random_and_only_its_digest_is_stored(store: Store) -> None:
    key, plain = await Keys(store, clock).create("ci", ProjectId("red"))
    assert re.fullmatch(r"sk-understudy-[A-Za-z0-9]{40}", plain)
    assert list(await store.keys()) == [key]
    assert (key.name, key.project, key.created_at, key.digest) == ("ci", "red", NOON, digest(plain))
    assert key.hint == plain[:18]
    _, other = await Keys(store, clock).create("ci", ProjectId("red"))
    assert other != plain


async def test_the_first_key_is_made_once_and_read_back(store: Store, tmp_path: Path) -> None:
    keys = Keys(store, clock)
    plain = await keys.ensure_first_key(tmp_path)
    assert await keys.ensure_first_key(tmp_path) == plain == read_first_key(tmp_path)
    assert [key.digest for key in await store.keys()] == [digest(plain)]


async def test_the_first_keys_file_can_be_read_by_its_owner_only(store: Store, tmp_path: Path) -> None:
    await Keys(store, clock).ensure_first_key(tmp_path)
    assert (tmp_path / "api-key").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["api-key", "understudy.db"]


async def test_servers_that_start_at_once_agree_on_one_first_key(tmp_path: Path) -> None:
    stores = [await open_sqlite(tmp_path / "understudy.db") for _ in range(4)]
    plains = await asyncio.gather(*(Keys(store, clock).ensure_first_key(tmp_path) for store in stores))
    assert set(plains) == {read_first_key(tmp_path)}
    assert len(await stores[0].keys()) == 1
    for store in stores:
        await store.close()


async def test_a_first_key_that_the_database_lost_is_registered_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk-from-a-backup\n")
    assert await Keys(store, clock).ensure_first_key(tmp_path) == "sk-from-a-backup"
    assert await store.key_by_digest(digest("sk-from-a-backup")) is not None


async def test_an_empty_key_file_is_replaced(store: Store, tmp_path: Path) -> None:
    (tmp_path / "api-key").touch()
    plain = await Keys(store, clock).ensure_first_key(tmp_path)
    assert plain == read_first_key(tmp_path)


async def test_a_revoked_first_key_is_replaced_and_stays_revoked(store: Store, tmp_path: Path) -> None:
    keys = Keys(store, clock)
    old = await keys.ensure_first_key(tmp_path)
    [stored] = await store.keys()
    await store.revoke_key(stored.id, int(NOON))
    new = await keys.ensure_first_key(tmp_path)
    assert new != old
    assert new == read_first_key(tmp_path)
    assert await Authenticator(store, None, clock).project(old) is None


async def test_a_key_opens_its_project_and_a_wrong_one_opens_nothing(store: Store) -> None:
    _, plain = await Keys(store, clock).create("ci", ProjectId("red"))
    door = Authenticator(store, None, clock)
    assert await door.project(plain) == "red"
    assert await door.project(plain + "x") is None
    assert await door.project("") is None


async def test_the_fixed_key_is_always_accepted(store: Store) -> None:
    door = Authenticator(store, "schlüssel", clock)
    assert await door.project("schlüssel") == DEFAULT_PROJECT
    assert await door.project("schlussel") is None


async def test_a_revocation_elsewhere_takes_effect_when_the_answer_is_too_old(store: Store) -> None:
    hand = HandClock()
    key, plain = await Keys(store, hand).create("ci", ProjectId("red"))
    door = Authenticator(store, None, hand, ttl=3.0)
    assert await door.project(plain) == "red"
    await store.revoke_key(key.id, int(NOON))
    hand.at += 2.9
    assert await door.project(plain) == "red"
    hand.at += 0.1
    assert await door.project(plain) is None


async def test_a_clock_that_is_set_back_does_not_prolong_an_answer(store: Store) -> None:
    hand = HandClock()
    key, plain = await Keys(store, hand).create("ci", ProjectId("red"))
    door = Authenticator(store, None, hand)
    assert await door.project(plain) == "red"
    await store.revoke_key(key.id, int(NOON))
    hand.at -= 3600
    assert await door.project(plain) is None


async def test_a_key_that_was_wrong_a_moment_ago_works_once_it_is_made(store: Store) -> None:
    door = Authenticator(store, None, clock)
    assert await door.project("sk-late") is None
    key = StoredKey(id="key_1", name="", hint="", digest=digest("sk-late"), project=ProjectId("red"), created_at=0)
    await store.add_key(key)
    assert await door.project("sk-late") == "red"


async def test_answers_are_remembered_up_to_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.keys._CACHE_MAX", 2)
    keys = Keys(store, clock)
    door = Authenticator(store, None, clock)
    for name in ("a", "b", "c"):
        _, plain = await keys.create(name, ProjectId(name))
        assert await door.project(plain) == name
    await door.project("wrong")
    assert len(door._known) == 2
