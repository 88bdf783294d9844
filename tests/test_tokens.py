import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.limits import TOKENS_EXACT_CHARACTERS_MAX
from understudy.tokens import FAMILIES, UNKNOWN, SplintrTokens, family


@pytest.fixture(scope="module")
def tokens() -> SplintrTokens:
    return SplintrTokens()


@pytest.mark.parametrize(
    ("model", "table"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-5-nano", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("openai/gpt-oss-20b", "o200k_base"),
        ("o1", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("azure/o4-mini", "o200k_base"),
        ("ft:gpt-4o:acme::1", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo-1106", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("codellama:7b", "codellama"),
        ("TinyLlama-1.1B-Chat", "llama2"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3"),
        ("llama3.2:3b", "llama3"),
        ("deepseek-r1-distill-llama-70b", "llama3"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral_v1"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral_v2"),
        ("codestral-latest", "mistral_v2"),
        ("mistral-nemo", "mistral_v3"),
        ("ministral-8b", "mistral_v3"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen3"),
        ("deepseek-chat", "deepseek_v3"),
        ("gemma2:9b", "gemma2"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("phi-4", "phi4"),
        ("phi3:mini", "llama2"),
        ("OLMo-2-1124-7B", "olmo2"),
        ("glm-4.5-air", "glm4"),
        ("kimi-k2", "kimi_k2"),
    ],
)
def test_a_models_name_picks_its_table(model: str, table: str) -> None:
    assert family(model).table == table


@pytest.mark.parametrize("model", ["", "smollm2-135m", "claude-3-5-sonnet", "foo1", "go3", "my-model"])
def test_a_name_that_tells_nothing_is_counted_on_the_safe_side(model: str) -> None:
    assert family(model) is UNKNOWN


@pytest.mark.parametrize(
    ("text", "cl100k", "o200k"),
    [
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
    ],
)
def test_counts_agree_with_the_vendors_published_examples(
    tokens: SplintrTokens, text: str, cl100k: int, o200k: int
) -> None:
    assert tokens.count(text, "gpt-4") == cl100k
    assert tokens.count(text, "gpt-4o") == o200k


@pytest.mark.parametrize("table", sorted({known.table for known in (*FAMILIES, UNKNOWN)}))
def test_every_table_is_in_the_library_and_counts(table: str) -> None:
    model = table.removesuffix("_base").replace("cl100k", "gpt-4").replace("o200k", "gpt-4o").replace("_v", "-v")
    model = {"mistral-v1": "mixtral", "mistral-v2": "codestral"}.get(model, model)
    assert family(model).table == table
    tokens = SplintrTokens()
    assert tokens.count("", model) == 0
    assert 2 <= tokens.count("Hello, world!", model) <= 8


def test_an_unknown_models_count_is_a_tenth_higher(tokens: SplintrTokens) -> None:
    text = "the quick brown fox " * 100
    assert tokens.count(text) == round(tokens.count(text, "gpt-4o") * 1.1)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "llama-2", "llama3", "mixtral", "qwen3", "gemma3", "my-model"])
@pytest.mark.parametrize("name", ["<|endoftext|>", "<|im_start|>", "<s>", "<|eot_id|>", "[INST]", "<|think|>"])
def test_special_tokens_in_a_text_are_plain_text(tokens: SplintrTokens, model: str, name: str) -> None:
    assert tokens.count(name, model) > 1


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "llama-2", "gemma3"])
@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, " " * 100_000, "!" * 100_000, "\0" * 1_000, "漢" * 100_000, "a\ud800b\udfff", "👩‍👩‍👧" * 10_000],
    ids=["letters", "spaces", "marks", "NULs", "ideographs", "halves of pairs", "emoji"],
)
def test_hostile_texts_are_counted_in_time(tokens: SplintrTokens, model: str, text: str) -> None:
    begun = time.perf_counter()
    assert 0 < tokens.count(text, model) <= 4 * len(text) + 8
    assert time.perf_counter() - begun < 5


def test_a_text_beyond_the_limit_is_extrapolated(tokens: SplintrTokens) -> None:
    text = "word " * (TOKENS_EXACT_CHARACTERS_MAX // 5)
    assert tokens.count(text * 20, "gpt-4o") == pytest.approx(tokens.count(text, "gpt-4o") * 20, rel=0.01)


@settings()
@given(a=st.text(max_size=200), b=st.text(max_size=200))
def test_two_texts_together_cost_about_what_they_cost_apart(tokens: SplintrTokens, a: str, b: str) -> None:
    together, apart = tokens.count(f"{a}\n{b}", "gpt-4o"), tokens.count(a, "gpt-4o") + tokens.count(b, "gpt-4o")
    assert abs(together - apart) <= 8 + apart // 4
