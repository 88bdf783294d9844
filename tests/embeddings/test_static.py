"""The built-in embedding as the server has it: there as soon as its weights are."""

from pathlib import Path

from structlog.testing import capture_logs

from support.weights import write_static_weights
from understudy.core.limits import EMBED_INLINE_CHARACTERS_MAX
from understudy.embeddings.choice import ChosenEmbedders
from understudy.embeddings.static import STATIC, StaticEmbedder
from understudy.models.none import NoModels
from understudy.ports import Embedding
from understudy.retrieval.static import VECTORS_FILE


async def test_it_is_preferred_once_its_weights_are_there(tmp_path: Path) -> None:
    embedders = ChosenEmbedders(NoModels(), None, tmp_path)
    assert await embedders.preferred() is None
    assert await embedders.of(STATIC) is None
    write_static_weights(tmp_path)
    found = await embedders.preferred()
    assert found is not None
    assert found.embedding == STATIC
    assert await embedders.of(STATIC) is found
    assert await embedders.of(Embedding(model=STATIC.model, dimensions=3)) is None


async def test_long_texts_are_embedded_as_short_ones(tmp_path: Path) -> None:
    embedder = StaticEmbedder.load(write_static_weights(tmp_path))
    [alone] = await embedder.embed(["wing"])
    both = await embedder.embed(["wing", "dog " * EMBED_INLINE_CHARACTERS_MAX])
    assert both[0] == alone
    assert len(both) == 2


async def test_broken_weights_are_as_none_and_said_once(tmp_path: Path) -> None:
    (write_static_weights(tmp_path) / VECTORS_FILE).write_bytes(b"broken")
    embedders = ChosenEmbedders(NoModels(), None, tmp_path)
    with capture_logs() as logs:
        assert await embedders.preferred() is None
        assert await embedders.of(STATIC) is None
    assert [line["event"] for line in logs] == ["embedding_not_loaded"]
