"""The tables of the paper that packaged configs repeat: `workflows/configs/paper/tables.yml`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.settings import Frozen, read_mapping, validated

FOLDER = Path(str(resources.files("workflows") / "configs" / "paper"))
"""Folder of the configs, and of the file of the tables."""


class Need(Frozen):
    """Data of a table: a source of its catalogs, or one file that it reads, and their origin."""

    source: str
    file: str | None = None
    """Path below the data folder of a file that reading the source's own address does not miss."""
    get: str
    """Command or address that delivers it; DIR stands for the data folder."""


class Row(Frozen):
    """A row of a table: a model of the paper with its scores, and the one of ours of that kind."""

    paper: str
    model: str | None = None
    scores: dict[str, Annotated[tuple[float, ...], Field(min_length=1, max_length=2)]]
    """Score, and its standard error across folds where the paper states one."""


class PaperTable(Frozen):
    """A table of the paper, the config that repeats it, and its data."""

    table: str
    title: str
    config: str
    until: Literal["report", "pretrain"] = "report"
    """Last stage to run."""
    needs: tuple[Need, ...]
    scores: dict[str, str] = Field(default_factory=dict)
    """Keys of each score within a model of the scorecard, as in sites.NSE.median."""
    rows: tuple[Row, ...] = ()


class PaperTables(Frozen):
    """All tables, and the paper that has them."""

    reference: str
    tables: dict[str, PaperTable]


@cache
def paper_tables() -> PaperTables:
    """The packaged tables.

    >>> paper_tables().tables["camels_pub"].rows[0].scores["NSE"]
    (0.636, 0.04)
    """
    path = FOLDER / "tables.yml"
    return validated(PaperTables, read_mapping(path), str(path))


def paper_table(name: str) -> PaperTable:
    """The table of that name; `InputError` with the nearest name if it is unknown."""
    tables = paper_tables().tables
    if name not in tables:
        raise bad_input("TABLE", f'"{name}"', f"one of {', '.join(tables)}",
                        nearest_name(name, tables))  # fmt: skip
    return tables[name]
