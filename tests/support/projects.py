"""Clients of other projects on the same server."""

from support.client import Client
from support.server import RunningServer
from understudy import entropy
from understudy.core.ids import ProjectId
from understudy.keys import Keys
from understudy.store.opening import open_store

__all__ = ["client_of"]


async def client_of(server: RunningServer, project: str) -> Client:
    """A client with a fresh key of this project, made as `understudy keys create` makes it: beside the server."""
    store = await open_store(server.settings.database)
    try:
        _, plain = await Keys(store, entropy.now).create("tests", ProjectId(project))
    finally:
        await store.close()
    return server.client.with_key(plain)
