"""Vector stores: requests -> objects as they are first written, and what use and time make of them."""

from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from understudy.core.limits import CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, THREAD_STORE_DAYS
from understudy.wire.tools import AutoChunking, StaticChunking, StaticChunkingOptions
from understudy.wire.vector_stores import (
    Chunking,
    CreateVectorStore,
    StoreExpiresAfter,
    UpdateVectorStore,
    VectorStore,
)

DAY_SECONDS: Final = 86_400
AUTO_CHUNKING: Final = StaticChunkingOptions(
    max_chunk_size_tokens=CHUNK_TOKENS, chunk_overlap_tokens=CHUNK_OVERLAP_TOKENS
)
THREAD_STORE_EXPIRY: Final = StoreExpiresAfter(anchor="last_active_at", days=THREAD_STORE_DAYS)


def new_vector_store(body: CreateVectorStore, *, store_id: str, at: int) -> VectorStore:
    made = VectorStore(
        id=store_id,
        created_at=at,
        name=body.name or "",
        description=body.description,
        expires_after=body.expires_after,
        last_active_at=at,
        metadata=body.metadata or {},
    )
    return used(made, at=at)


def changed_vector_store(before: VectorStore, body: UpdateVectorStore) -> VectorStore:
    """`null` takes the name, or the policy, away."""
    after = replace(
        before,
        name=before.name if body.name is UNSET else body.name or "",
        expires_after=before.expires_after if body.expires_after is UNSET else body.expires_after,
        metadata=before.metadata if body.metadata is None else body.metadata,
    )
    return replace(after, expires_at=_expiry(after))


def used(store: VectorStore, *, at: int) -> VectorStore:
    """The store after its use at that moment, which is never before its last one."""
    latest = at if store.last_active_at is None else max(at, store.last_active_at)
    active = replace(store, last_active_at=latest)
    return replace(active, expires_at=_expiry(active))


def is_expired(store: VectorStore, now: int) -> bool:
    """Also when nobody has marked it yet."""
    return store.status == "expired" or (store.expires_at is not None and store.expires_at <= now)


def chunking(*asked: Chunking | None) -> StaticChunkingOptions:
    """The first strategy that somebody gave; `auto` means ours."""
    strategy = next((one for one in asked if one is not None), AutoChunking())
    return strategy.static if isinstance(strategy, StaticChunking) else AUTO_CHUNKING


def _expiry(store: VectorStore) -> int | None:
    if store.expires_after is None or store.last_active_at is None:
        return None
    return store.last_active_at + store.expires_after.days * DAY_SECONDS
