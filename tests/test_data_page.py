"""docs/data/README.md: every key that its table shows is one that an entry takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.catalog.catalog import read_catalog
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable
from tests.conftest import ROOT

PAGE = (ROOT / "docs/data/README.md").read_text()
TABLE = PAGE[PAGE.index("| the data … | the entry |") :]
ROWS = dict(
    re.findall(r"^\| (are .*?|have .*?|lie .*?|come .*?|need .*?) \| (.*) \|$", TABLE, re.M)
)

NEEDS: dict[str, dict[str, Any]] = {
    "accumulated": {"time": {"resets": 0}},
    "daily": {"cell_method": "mean"},
    "year": {"time": {"years": [2001, 2020]}},
    "transform": {"units": "1"},
    "expression": {"units": "1"},
    "years": {"uri": "rain_{year}.nc"},
    "resets": {"cell_method": "accumulated"},
    "wide": {"driver": "table", "crs": "EPSG:4326"},
    "asset": {"driver": "raster", "uri": "https://example.org/item.json"},
    "vector": {"method": "mean"},
    "categorical": {"method": "fractions", "classes": {"forest": [1, 2]}},
    "classes": {"kind": "categorical", "method": "fractions"},
    "cyclic": {"method": "circular_mean", "period": 24},
}
"""Keys without which another key or value of the table makes no sense."""


def settings_of(row: str) -> list[dict[str, Any]]:
    """The settings that a row shows: each piece of code that is a mapping without an ellipsis."""
    code = re.findall(r"`([^`]+)`", ROWS[row])
    read = [yaml.safe_load(text) for text in code if ": " in text and "…" not in text]
    return [one for one in read if isinstance(one, dict)]


def entry_of(settings: dict[str, Any]) -> dict[str, Any]:
    """A whole entry with these settings of it or of its variable."""
    wanted = set(re.findall(r"\w+", repr(settings)))
    entry: dict[str, Any] = {"uri": "a.nc", "driver": "netcdf"}
    variable: dict[str, Any] = {"name": "a"}
    for name in sorted(wanted & {*NEEDS}):
        settings = {**NEEDS[name], **settings}
    for key, value in settings.items():
        (variable if key in SourceVariable.model_fields else entry)[key] = value
    if "expression" in variable:
        del variable["name"]
    return {**entry, "variables": {"precipitation": variable}}


def test_the_table_is_found() -> None:
    assert len(ROWS) == TABLE.count("\n| are ") + TABLE.count("\n| have ") + sum(
        TABLE.count(f"\n| {verb} ") for verb in ("lie", "come", "need")
    )
    assert sum(len(settings_of(row)) for row in ROWS) >= 25


@pytest.mark.parametrize("row", [*ROWS])
def test_each_row_shows_settings_that_an_entry_takes(row: str) -> None:
    found = settings_of(row)
    if row in ("come in a final and a preliminary version", "are a variable that we do not have"):
        return  # whole entries, of the test below
    if row == "have quality flags":
        found = [found[0], {"mask": found[1]}]
    if row == "are stored transformed":
        found = [found[0], {"transform": found[1]}]
    assert found
    for settings in found:
        Source.model_validate({"name": "own", **entry_of(settings)})
        with pytest.raises(ValueError, match="no_such_key"):
            Source.model_validate({"name": "own", **entry_of(settings), "no_such_key": 1})


def test_entries_that_are_made_of_others_and_own_variables_are_read(tmp_path: Path) -> None:
    merged = settings_of("come in a final and a preliminary version")
    assert merged == [{"best": {"merge": ["final", "preliminary"]}}]
    (tmp_path / "own.yml").write_text(
        """
variables: {acidity: {long_name: acidity, units: "1"}}
final: {uri: a.nc, driver: netcdf, variables: {acidity: {name: ph}}}
preliminary: {uri: b.nc, driver: netcdf, variables: {acidity: {name: ph}}}
best: {merge: [final, preliminary]}
"""
    )
    catalog = read_catalog(tmp_path / "own.yml", data=tmp_path)
    assert [part.name for part in catalog["best"].merge] == ["final", "preliminary"]
    assert "acidity" in catalog["final"].own_variables
