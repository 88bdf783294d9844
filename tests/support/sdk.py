"""How the official SDKs add up the deltas of a stream: contract section 0.5 and 0.6."""

from collections.abc import Iterable


def accumulated(deltas: Iterable[dict[str, object]]) -> dict[str, object]:
    """The sum of JSON deltas: strings concatenated, numbers added, lists merged by `index`."""
    total: dict[str, object] = {}
    for delta in deltas:
        total = _added(total, delta)
    return total


def _added(total: dict[str, object], delta: dict[str, object]) -> dict[str, object]:
    result = dict(total)
    for key, new in delta.items():
        old = result.get(key)
        if old is None or key in ("index", "type"):
            result[key] = _listed([], new) if isinstance(new, list) and new else new
        elif isinstance(old, dict) and isinstance(new, dict):
            result[key] = _added(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            result[key] = _listed(old, new)
        else:
            result[key] = old + new  # type: ignore[operator]
    return result


def _listed(old: list[dict[str, object]], new: list[dict[str, object]]) -> list[dict[str, object]]:
    merged = list(old)
    for entry in new:
        place = entry["index"]
        assert isinstance(place, int)
        assert place <= len(merged), "an index was left out"
        if place == len(merged):
            merged.append(entry)
        else:
            merged[place] = _added(merged[place], entry)
    return merged


def without_index(entries: object) -> list[dict[str, object]]:
    """List entries as the full object shows them."""
    assert isinstance(entries, list)
    return [{key: value for key, value in entry.items() if key != "index"} for entry in entries]
