"""numbered(): one line of a catalog for many bands: `embedding_[00-63]: {name: "band_[1-64]"}`.

Upstream: catalog files. Downstream: catalog.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import Faults

MOST_NUMBERED = 10_000
"""Entries that the ranges of one mapping may stand for."""
_RANGE = re.compile(r"\[(\d+)-(\d+)\]")


def numbered(entries: Mapping[str, Any], where: str, faults: Faults) -> dict[str, Any]:
    """`entries` with each range `[first-last]` in a key spread out, one entry a number.

    Ranges in the entry's own texts run along; all are as long. Leading zeros give the width.
    """
    result: dict[str, Any] = {}
    for key, value in entries.items():
        found = _RANGE.search(str(key))
        if found is None:
            result[str(key)] = value
            continue
        first, last = int(found[1]), int(found[2])
        for text in _texts(value):
            for begin, end in _RANGE.findall(text):
                if int(end) - int(begin) != last - first:
                    faults.add(f"{where}: {key}", f"[{begin}-{end}]",
                               f"a range of {last - first + 1} numbers, as in the key")  # fmt: skip
        if last < first:
            faults.add(f"{where}: {key}", found[0], "a range that goes up")
        if len(result) + last - first >= MOST_NUMBERED:
            faults.add(f"{where}: {key}", found[0], f"at most {MOST_NUMBERED:,} entries in all")
            continue
        for step in range(last - first + 1):
            result[_at(str(key), step)] = _along(value, step)
    return result


def _at(text: str, step: int) -> str:
    """The text with `step` numbers from the first in place of each range."""
    return _RANGE.sub(lambda found: f"{int(found[1]) + step:0{len(found[1])}d}", text)


def _along(value: Any, step: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _along(item, step) for key, item in value.items()}
    return _at(value, step) if isinstance(value, str) else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    return [value] if isinstance(value, str) else []
