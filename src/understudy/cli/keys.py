"""`understudy keys`: beside a running server, on the same data directory."""

from datetime import UTC, datetime

from understudy.cli.storage import with_store
from understudy.cli.terminal import Stop, note
from understudy.core.ids import ProjectId
from understudy.entropy import now
from understudy.keys import Keys
from understudy.ports import Store, StoredKey
from understudy.settings import Settings

__all__ = ["create", "revoke", "show"]


def create(settings: Settings, name: str, project: str) -> None:
    """Prints the key alone on stdout, so that a script can take it."""

    async def make(store: Store) -> tuple[StoredKey, str]:
        return await Keys(store, now).create(name, ProjectId(project))

    key, plain = with_store(settings, make)
    note(f"Made the key {key.id} ({name}) for the project {project}. It is shown this once:")
    print(plain)


def show(settings: Settings) -> None:
    """Prints one line per key, oldest first."""

    async def read(store: Store) -> list[StoredKey]:
        return list(await store.keys())

    rows = [("ID", "NAME", "KEY", "PROJECT", "CREATED", "REVOKED")]
    for key in with_store(settings, read):
        revoked = "" if key.revoked_at is None else _day(key.revoked_at)
        rows.append((key.id, key.name, f"{key.hint}...", key.project, _day(key.created_at), revoked))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def revoke(settings: Settings, key_id: str) -> None:
    """A running server follows within five seconds."""

    async def forbid(store: Store) -> bool:
        return await store.revoke_key(key_id, int(now()))

    if not with_store(settings, forbid):
        raise Stop(f"There is no key {key_id} that still works: see `understudy keys list`.")
    note(f"Revoked the key {key_id}.")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
