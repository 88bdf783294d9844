"""`understudy reindex`: beside a running server, on the same data directory."""

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from understudy.app import make_embedders, make_models
from understudy.cli.storage import with_store
from understudy.cli.terminal import Stop, note
from understudy.engine.reindex import reindex
from understudy.ports import Embedder, EmbeddingFailed, Store
from understudy.settings import Settings

__all__ = ["reindex_stores"]

_NO_EMBEDDING = (
    "There is nothing to embed with: `understudy embedding fetch` gets the built-in embedding, "
    "and the setting embedding_model names a server's model."
)


def reindex_stores(settings: Settings, store_ids: Sequence[str]) -> None:
    """Those named, else every store that is searched in another space. Raises `Stop` when one cannot be done."""
    done, failed = with_store(settings, lambda store: _all(settings, store, store_ids))
    note(f"{done} of {done + len(failed)} vector stores were embedded anew.")
    if failed:
        raise Stop(f"These could not be, because they are gone or still being filled: {', '.join(failed)}.")


async def _all(settings: Settings, store: Store, store_ids: Sequence[str]) -> tuple[int, list[str]]:
    models = make_models(settings, settings.routes())
    embedders = make_embedders(settings, models)
    try:
        embedder = await embedders.preferred()
        if embedder is None:
            raise Stop(_NO_EMBEDDING)
        space = embedder.embedding
        note(f"Embedding with {space.model}, {space.dimensions} numbers a vector.")
        wanted = store_ids or await store.stores_outside(space)
        failed = await _each(store, embedder, wanted)
    except EmbeddingFailed as error:
        raise Stop(f"{error.message} What is embedded so far is kept: the same command goes on from there.") from error
    finally:
        await embedders.close()
        await models.close()
    return len(wanted) - len(failed), failed


async def _each(store: Store, embedder: Embedder, store_ids: Sequence[str]) -> list[str]:
    """The stores that could not be done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for store_id in store_ids:
            total = await store.missing_vectors_count(store_id, embedder.embedding)
            task = progress.add_task(store_id, total=total)
            if not await reindex(store, embedder, store_id, done=partial(progress.advance, task)):
                failed.append(store_id)
    return failed
