"""Token counts from the tables inside `splintr`: no network, whatever the model."""

import re
from functools import cache, lru_cache
from typing import Final

from msgspec import Struct
from splintr import AnyTokenizer, Tokenizer

from understudy.core.limits import MODEL_NAMES_CACHED_MAX, TOKENS_EXACT_CHARACTERS_MAX


class Family(Struct, frozen=True):
    """Models that share a table. Where the table is only near theirs, `factor` keeps the count on the safe side."""

    pattern: str
    table: str
    factor: float = 1.0


UNKNOWN: Final = Family("", "o200k_base", 1.1)

# The first pattern found in a model's name, in lower case, decides: narrower names stand before wider ones.
FAMILIES: Final = (
    Family(r"gpt-?4o|gpt-?4\.[15]|gpt-?[5-9]|chatgpt|gpt-oss|(?<![a-z0-9])o[1-9](?![a-z0-9])", "o200k_base"),
    Family(r"gpt-?4|gpt-?3\.5|gpt-?35|text-embedding", "cl100k_base"),
    Family(r"code-?llama", "codellama"),
    Family(r"tinyllama|vicuna|llama-?2|phi-?3", "llama2"),
    Family(r"llama-?4", "o200k_base", 1.1),
    Family(r"llama", "llama3"),
    Family(r"mixtral-8x22b|codestral|mistral-7b-(?:instruct-)?v0\.3", "mistral_v2"),
    Family(r"mixtral|mistral-7b|zephyr", "mistral_v1"),
    Family(r"mi(?:ni)?stral|pixtral|devstral|magistral", "mistral_v3"),
    Family(r"qwen|qwq|qvq", "qwen3"),
    Family(r"deepseek", "deepseek_v3"),
    Family(r"gemma-?2", "gemma2"),
    Family(r"gemma|gemini", "gemma3"),
    Family(r"phi-?4", "phi4"),
    Family(r"olmo", "olmo2"),
    Family(r"(?<![a-z0-9])glm", "glm4"),
    Family(r"kimi|moonshot", "kimi_k2"),
)


@lru_cache(maxsize=MODEL_NAMES_CACHED_MAX)
def family(model: str) -> Family:
    """The family that a model's name tells of; `UNKNOWN` for names that tell nothing."""
    name = model.lower()
    return next((known for known in FAMILIES if re.search(known.pattern, name)), UNKNOWN)


@cache
def _table(name: str) -> AnyTokenizer:
    return Tokenizer.from_pretrained(name)


class SplintrTokens:
    """Implements `ports.Tokens`. A table is read when a model first needs it, and kept for the whole process."""

    def warm(self) -> None:
        """Loads what most counts need: the first one takes a fifth of a second, and no request should wait for it."""
        self.count("What's new? 1,234 (words)!\n\n  Naïve 漢字 — ok.\r\n\tx")

    def count(self, text: str, model: str = "") -> int:
        """Tokens of a text. The names of special tokens count as the plain text that they are in a user's message."""
        if not text:
            return 0
        known = family(model)
        table = _table(known.table)
        exact = text[:TOKENS_EXACT_CHARACTERS_MAX]
        # JSON may carry half of a surrogate pair, which has no UTF-8.
        encodable = exact if exact.isascii() else exact.encode("utf-8", "replace").decode("utf-8")
        tokens = len(table.encode_ordinary(encodable)) * known.factor * (len(text) / len(exact))
        return round(tokens) or 1
