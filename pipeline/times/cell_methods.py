"""method_of_time(): how the values of a variable stand for their steps, by CF `cell_methods`.

Downstream: `canonical`, which makes days of shorter steps by the same method.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

METHODS = {
    "sum": "sum", "mean": "mean", "minimum": "minimum", "maximum": "maximum",
    "min": "minimum", "max": "maximum",
}  # fmt: skip
_COMMENT = re.compile(r"\([^()]*\)")
_ENTRY = re.compile(r"((?:[\w.-]+\s*:\s*)+)(\w+)")


def method_of_time(text: str, axes: Iterable[str]) -> str | None:
    """sum, mean, minimum or maximum over the time axis, called any of `axes`; None for others.

    CF section 7.3: a list of `name: [name: …] method`, each with modifiers (`within days`, `where
    land`) and a comment in brackets. A lone word counts for time. Two methods over time, as of
    climatologies, are no way to make days unless they are the same.
    """
    plain = _COMMENT.sub(" ", text)
    entries = [(re.split(r"\s*:\s*", names)[:-1], word) for names, word in _ENTRY.findall(plain)]
    if not entries:
        return METHODS.get(plain.strip())
    known = set(axes)
    found = {word for names, word in entries if known & set(names)}
    return METHODS.get(found.pop()) if len(found) == 1 else None
