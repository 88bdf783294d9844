"""A question as words to look for: `rewrite_query` without a model.

The vendor's service had a model rewrite the query. Ours takes away what no passage is found by: courtesies, question
words and punctuation around words. It is the same each time, costs nothing, and is shown in the answer.
"""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\s]+")
_AROUND: Final = "?!.,;:\"'()[]{}«»“”‘’„…¿¡"
# Words with which a request for words begins. Only whole words, and only where others are left.
_FILLER_WORDS: Final = """
a about am an and anyone anything are as at be been being but by can could did do does for from give had has have hello
hey hi how i i'd i'm if in is it its just kindly know let like list look looking may me might my need of on or our
please s say search shall should show so some somebody someone something tell thank thanks that the their them there
these they this those to us want was we were what what's when where which who whom whose why will with would you your
"""
_FILLER: Final = frozenset(_FILLER_WORDS.split())


def rewritten(query: str) -> str:
    """The query's words that carry meaning, in their order; the query as it is if none do."""
    words = (word.strip(_AROUND) for word in _WORD.findall(query))
    kept = [word for word in words if word and word.lower().replace("’", "'") not in _FILLER]
    return " ".join(kept) or query
