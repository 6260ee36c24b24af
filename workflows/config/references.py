"""References of a config to environment variables, which stay in everything that is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Keys = tuple[object, ...]
"""Keys and positions that lead to a value in nested settings."""

DESCRIPTIONS = {"title", "caveats", "why", "label", "long_name"}
"""Keys of texts that are only written, in which references are not replaced at all."""
OF_LOCATION = ("places", "name")


def with_descriptions(values: Any, texts: Any, keys: Keys = ()) -> Any:
    """Return the expanded settings `values` with descriptions as in `texts`, as they are written.

    >>> with_descriptions({"title": "by Ann", "name": "Ann"}, {"title": "by ${USER}", "name": "-"})
    {'title': 'by ${USER}', 'name': 'Ann'}
    """
    if isinstance(values, Mapping):
        return {k: with_descriptions(v, texts[k], (*keys, k)) for k, v in values.items()}
    if isinstance(values, list):
        pairs = enumerate(zip(values, texts, strict=True))
        return [with_descriptions(value, text, (*keys, i)) for i, (value, text) in pairs]
    names = tuple(key for key in keys if isinstance(key, str))
    is_description = (names[-1:] and names[-1] in DESCRIPTIONS) or names == OF_LOCATION
    return texts if is_description else values


def differing(values: Any, texts: Any, keys: Keys = ()) -> dict[Keys, str]:
    """Return the texts that differ from the value at the same keys.

    >>> differing({"roots": {"data": "/srv/a"}}, {"roots": {"data": "${DATA}"}})
    {('roots', 'data'): '${DATA}'}
    """
    found: dict[Keys, str] = {}
    if isinstance(values, Mapping | list):
        for key, value in _items(values):
            found |= differing(value, texts[key], (*keys, key))
    elif values != texts:
        found[keys] = texts
    return found


def with_references(settings: Any, references: Mapping[Keys, str], keys: Keys = ()) -> Any:
    """Return plain settings with the text of each of the `references` at its keys."""
    if isinstance(settings, Mapping):
        return {k: with_references(v, references, (*keys, k)) for k, v in settings.items()}
    if isinstance(settings, list):
        return [with_references(v, references, (*keys, i)) for i, v in enumerate(settings)]
    return references.get(keys, settings)


def _items(values: Any) -> Iterator[tuple[Any, Any]]:
    yield from values.items() if isinstance(values, Mapping) else enumerate(values)
