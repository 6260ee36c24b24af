"""check_distinct(): no canonical variable of a cube from two of its sources."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.regridding.terrain import ATTRIBUTES


def check_distinct(
    sources: Sequence[Source], faults: Faults, terrain_from: str | None = None
) -> None:
    """Add a fault for each variable that two sources have, and for a source that is named twice.

    The source `terrain_from` has the variables of terrain that are derived from it, too.
    """
    owner: dict[str, str] = {}
    for source in sources:
        derived = ATTRIBUTES if source.name == terrain_from else ()
        for name in (*source.variables, *derived):
            if name not in owner:
                owner[name] = source.name
                continue
            other = owner[name]
            order = f"`merge: [{other}, {source.name}]`"
            hint = f"Leave one of them out, or name an entry with {order}, in order of preference."
            faults.add(
                f'source "{source.name}"',
                f"{name}, which {other} has too" if other != source.name else "the source twice",
                "variables that no other source has", hint if other != source.name else "",
            )  # fmt: skip
            if other == source.name:
                break
