"""`understudy reindex`, which opens the database for itself."""

import asyncio
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from support.search import FixedEmbedders, add_document, add_store, embedder, found, texts_of
from support.weights import write_static_weights
from understudy.cli.main import commands
from understudy.engine.search import Searcher
from understudy.store.sqlite import open_sqlite


async def test_stores_get_the_built_in_embedding_once_its_weights_are_there(tmp_path: Path) -> None:
    path = tmp_path / "data" / "understudy.db"
    path.parent.mkdir()
    store = await open_sqlite(path)
    store_id = await add_store(store)
    await add_document(store, store_id, "flow", "dog")
    await store.close()

    async def command(*arguments: str) -> Result:
        line = ["reindex", *arguments, "--data-dir", str(path.parent)]
        return await asyncio.to_thread(CliRunner().invoke, commands(), line)

    without = await command()
    assert "`understudy embedding fetch`" in str(without.exception)
    write_static_weights(path.parent / "weights")
    done = await command()
    assert (done.exit_code, done.stdout) == (0, "")
    assert "1 of 1 vector stores were embedded anew." in done.stderr
    assert "vs_none" in str((await command("vs_none")).exception)

    store = await open_sqlite(path)
    assert texts_of(await found(Searcher(store, FixedEmbedders(embedder())), store_id, "wing"))[0] == "flow"
    await store.close()
