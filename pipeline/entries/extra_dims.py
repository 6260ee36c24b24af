"""Settings for dimensions of a file that are neither time nor rows or columns."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, field_validator

from pipeline.core.settings import Frozen, Limit


class At(Frozen):
    """A position along a dimension, by the value of its coordinate: `{value: 0.05}`."""

    value: float | str

    @field_validator("value", mode="before")
    @classmethod
    def _dated(cls, value: Any) -> Any:
        # YAML reads dates as such.
        return value.isoformat() if isinstance(value, date) else value


class Layers(Frozen):
    """The mean over a part of a dimension, weighted with the thickness of its layers."""

    to: tuple[Limit, Limit]
    """Lower and upper end in the units of the coordinate, such as [0, 1] for the first metre."""
    by: Literal["bounds"] | tuple[Limit, ...] = "bounds"
    """Edges of the layers: the CF bounds of the coordinate, or a list such as [0, 0.1, 0.4, 1, 2]
    with one more than there are layers."""

    @field_validator("to", "by")
    @classmethod
    def _ascends(cls, edges: tuple[float, ...] | str) -> tuple[float, ...] | str:
        if not isinstance(edges, str) and not all(a < b for a, b in pairwise(edges)):
            raise ValueError(f"edges {list(edges)}, which do not ascend")
        return edges


def _form(value: Any) -> str:
    """Return the form of a setting, of which alone errors are then reported."""
    if isinstance(value, str):
        return "name"
    return "position" if isinstance(value, int | float) else "mapping"


Select = Annotated[
    Annotated[int, Tag("position")] | Annotated[str, Tag("name")] | Annotated[At, Tag("mapping")],
    Discriminator(_form),
]
"""A position: its number from 0 (from the end if negative), its name, or the coordinate's value."""
Reduce = Annotated[
    Annotated[Literal["first_valid", "mean", "sum", "min", "max"], Tag("name")]
    | Annotated[Layers, Tag("mapping")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "mapping"),
]
"""How the values along a dimension become one: the first valid one; the mean, smallest or greatest
of the valid ones; the sum of all; or the mean of layers."""
