"""Settings of an entry that is made of other entries: `merge: [final, preliminary]`.

`pipeline.regridding.merge` merges the values of the parts on the target grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

DRIVER = "merge"
OWN = {"name", "merge", "time", "title", "licence", "doi", "reference"}
"""Settings that a merged entry has itself; all others are set in each part."""
OF_TIME = {"period", "gaps"}
"""Settings of `time` that a merged entry has itself."""
DESCRIBING = ("kind", "method", "min_coverage", "crs", "classes")
"""Settings of the first part that describe the merged values."""
APART = {"fractions", "std", "mode", "circular_mean"}
"""Methods whose results are of another kind than those of all other methods."""


def merged_settings(entry: Mapping[str, Any], parts: Sequence[Any]) -> dict[str, Any]:
    """Return the settings of an entry of `parts` (values of `Source`): its own and those of parts.

    Raises `ValueError` for settings that the parts must have instead, and for parts that cannot be
    merged.
    """
    time = dict(entry.get("time") or {})
    others = [*sorted({*entry} - OWN), *(f"time.{key}" for key in sorted({*time} - OF_TIME))]
    if others:
        raise ValueError(f'"{others[0]}" beside `merge`, where each part has its own')
    _check_alike(parts)
    first = parts[0]
    variables = {name: one for part in reversed(parts) for name, one in part.variables.items()}
    names = dict.fromkeys(name for part in parts for name in part.variables)
    return {
        **entry,
        "merge": tuple(parts),
        "uri": ", ".join(part.name for part in parts),
        "driver": DRIVER,
        "variables": {name: variables[name] for name in names},
        "time": {"kind": first.time.kind, **time},
        **{key: getattr(first, key) for key in DESCRIBING},
    }


def limited(parts: Sequence[Any], span: tuple[date, date]) -> list[Any]:
    """Return the parts (values of `Source`) limited to the files of the days of `span`.

    Parts of other years are left out, unless all are, or a variable is in no other part.
    """
    every = []
    for part in parts:
        both = part.time.model_copy(update={"limit": span, "period": part.time.limit}).span
        time = part.time.model_copy(update={"limit": both})
        every.append(part.model_copy(update={"time": time}))
    kept = [one for one in every if _reaches(one.time)]
    known = {name for one in kept for name in one.variables}
    return [one for one in every if one in kept or not {*one.variables} <= known] if kept else every


def _reaches(time: Any) -> bool:
    """Whether a limited time axis has a day, and a year of its files."""
    (first, last), years = time.span, time.years
    has_years = years is None or (years[0] <= last.year and first.year <= years[1])
    return first <= last and has_years


def _check_alike(parts: Sequence[Any]) -> None:
    """Raise `ValueError` for parts that are too few, occur twice, or have other kinds of values."""
    names = [part.name for part in parts]
    if len(parts) < 2:
        raise ValueError("fewer than two entries under `merge`")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f'"{twice[0]}" twice under `merge`')
    first = parts[0]
    for part in parts[1:]:
        both = f'"{first.name}" and "{part.name}" under `merge`, which have'
        if part.time.kind != first.time.kind:
            raise ValueError(f"{both} times of files and of a climatology")
        if list(part.classes) != list(first.classes):
            raise ValueError(f"{both} different labels of `classes`")
        if part.method != first.method and {part.method, first.method} & APART:
            raise ValueError(f"{both} the methods {first.method} and {part.method}")
