"""Tables of the values that a check read: least, mean and greatest of each variable, and gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from pipeline.sources.check_metadata import SourceInfo


def value_rows(infos: Iterable[SourceInfo]) -> list[dict[str, Any]]:
    """Return a row for each variable of sources; docs/json.md describes every key."""
    return [
        {
            "source": info.name,
            "variable": one.variable,
            "units": one.units,
            "least": _number(one.least),
            "mean": _number(one.mean),
            "greatest": _number(one.greatest),
            "missing": _number(one.missing),
            "checked": float(info.checked),
        }
        for info in infos
        for one in info.values
    ]


def value_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the result of `value_rows` as a table."""
    names = ("variable", "source", "least", "mean", "greatest", "units", "missing", "read")
    table = Table(*names, title="values, in canonical units")
    for row in rows:
        numbers = [_text(row[key]) for key in ("least", "mean", "greatest")]
        shares = ["" if row[key] is None else f"{100 * row[key]:.3g} %" for key in SHARES]
        table.add_row(row["variable"], row["source"], *numbers, row["units"], *shares)
    return table


SHARES = ("missing", "checked")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
