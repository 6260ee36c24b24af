"""numbered(): one line of a catalog for many bands: `embedding_[00-63]: {name: "band_[1-64]"}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import Faults

MAX_ENTRIES = 10_000
"""Maximum number of entries to which the ranges of one mapping may expand."""
_RANGE = re.compile(r"\[(\d+)-(\d+)\]")


def numbered(entries: Mapping[str, Any], where: str, faults: Faults) -> dict[str, Any]:
    """Return `entries` with each range `[first-last]` in a key expanded to one entry per number.

    Ranges in the texts of the entry advance in step and must have the same length. Leading zeros
    set the width of the numbers.
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
            faults.add(f"{where}: {key}", found[0], "an ascending range")
        if len(result) + last - first >= MAX_ENTRIES:
            faults.add(f"{where}: {key}", found[0], f"at most {MAX_ENTRIES:,} entries in all")
            continue
        for step in range(last - first + 1):
            result[_at(str(key), step)] = _in_step(value, step)
    return result


def _at(text: str, step: int) -> str:
    """Return the text with each range replaced by its first number plus `step`."""
    return _RANGE.sub(lambda found: f"{int(found[1]) + step:0{len(found[1])}d}", text)


def _in_step(value: Any, step: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _in_step(item, step) for key, item in value.items()}
    return _at(value, step) if isinstance(value, str) else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    return [value] if isinstance(value, str) else []
