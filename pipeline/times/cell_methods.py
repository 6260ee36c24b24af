"""method_of_time(): the aggregation of values in time, from the CF attribute `cell_methods`.

The same method aggregates shorter steps to days.
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
    """Return sum, mean, minimum or maximum over the time axis, whose name is in `axes`, else None.

    CF section 7.3: a list of `name: [name: …] method`, each with modifiers (`within days`, `where
    land`) and a comment in brackets. A single word refers to time. Two different methods over
    time, as in climatologies, yield None.
    """
    plain = _COMMENT.sub(" ", text)
    entries = [(re.split(r"\s*:\s*", names)[:-1], word) for names, word in _ENTRY.findall(plain)]
    if not entries:
        return METHODS.get(plain.strip())
    known = set(axes)
    found = {word for names, word in entries if known & set(names)}
    return METHODS.get(found.pop()) if len(found) == 1 else None
