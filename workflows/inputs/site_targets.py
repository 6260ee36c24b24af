"""Sites as the target of a gridded cube: matched to cells, written into it, kept as a table.

Part of `stats`, the first stage that needs a target. A cell has the mean of its stations or
profiles; for events it has 1, and cells without events are drawn as 0 where the config asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.files import make_folder, read_json, write_bytes, write_json
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.cube.template import grid_of
from pipeline.cube.write import write_tile
from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.absences import draw_absences
from pipeline.sites.match import cell_means, match_sites, unmatched, unmatched_faults
from workflows.config.schema import Inputs
from workflows.inputs.cells import land_mask

MATCHED, SUMMARY = "matched.parquet", "summary.json"
"""Files of matched sites: a table with a row for each site, and the scorecard's summary."""


def match_summary(folder: Path) -> dict[str, Any]:
    """The scorecard's summary of how sites were matched to cells."""
    return read_json(folder / SUMMARY)


def write_site_targets(
    cube: Path, sites: xr.Dataset, inputs: Inputs, folder: Path, seed: int
) -> None:
    """Write the sites' values into the cube, and the table of matched sites to `folder`.

    `sites` are those of `inputs.target_sites`. Raises `InputError` with counts and ids of the sites
    without a cell, unless `inputs.exclude_unmatched` leaves them out, and where none is left.
    """
    store = open_cube(cube)
    grid, land = grid_of(store.attrs), land_mask(store, inputs)
    table = match_sites(sites, grid, inputs.targets[0])
    without = unmatched(table, land)
    if not inputs.exclude_unmatched:
        where = f'source "{inputs.target_sites}" on cube {cube.stem}'
        unmatched_faults(table, without, where).raise_if_any()
    usable = ~np.logical_or.reduce(list(without.values()))
    if not usable.any():
        where = f'source "{inputs.target_sites}"'
        raise bad_input(where, "no site in a cell of the cube", "at least one")
    sites, table = sites.isel(cell=np.flatnonzero(usable)), table[usable]
    left_out = {reason: int(which.sum()) for reason, which in without.items()}
    fields = {name: cell_means(sites[name], table["cell"].to_numpy()) for name in inputs.targets}
    absences = np.zeros(0, np.int64)
    if inputs.absences is not None:
        settings = inputs.absences
        absences = draw_absences(
            land, table["cell"].to_numpy(), grid, ratio=settings.ratio,
            buffer_km=settings.buffer_km, reach_km=settings.reach_km, seed=seed,
        )  # fmt: skip
        fields = {name: _with_zeros(*field, absences) for name, field in fields.items()}
    _write(cube, grid, sites, fields)
    summary = _summary(table, absences) | {"left_out": left_out}
    make_folder(folder)
    write_bytes(folder / MATCHED, [table.to_parquet(index=False)])
    write_json(folder / SUMMARY, summary)


def _with_zeros(
    cells: np.ndarray, values: np.ndarray, absences: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    zeros = np.zeros((*values.shape[:-1], absences.size), np.float32)
    return np.concatenate([cells, absences]), np.concatenate([values, zeros], -1)


def _write(
    cube: Path,
    grid: TargetGrid,
    sites: xr.Dataset,
    fields: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Write fields of (flat cell indices, values [..., cell]) tile by tile into the cube."""
    width = grid.shape[1]
    store = open_cube(cube)
    for tile in cube_tiles(cube):
        window = grid.window(tile.rows, tile.cols)
        made = {}
        for name, (cells, values) in fields.items():
            rows, cols = np.divmod(cells, width)
            here = (rows >= tile.rows.start) & (rows < tile.rows.stop)
            here &= (cols >= tile.cols.start) & (cols < tile.cols.stop)
            da = store[name]
            shape = (*da.shape[:-2], *window.shape)
            field = np.full(shape, np.nan, np.float32)
            inside = (rows[here] - tile.rows.start, cols[here] - tile.cols.start)
            if "time" in da.dims:
                steps, site_steps = _common_steps(store["time"].values, sites["time"].values, name)
                field[steps[:, None], inside[0], inside[1]] = values[site_steps][:, here]
            else:
                field[inside] = values[here]
            made[name] = xr.Variable(da.dims, field)
        coords = {"y": window.y, "x": window.x, "time": store["time"].values}
        write_tile(cube, tile, xr.Dataset(made, coords))


def _common_steps(cube: np.ndarray, sites: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions in each of the times that both have; `InputError` where they share none."""
    common, in_cube, in_sites = np.intersect1d(cube, sites, return_indices=True)
    if not common.size:
        raise bad_input(
            f"inputs.target_sites: {name}", f"times from {sites[0]} to {sites[-1]}",
            f"some of the cube's, {cube[0]} to {cube[-1]}",
        )  # fmt: skip
    return in_cube, in_sites


def _summary(table: pd.DataFrame, absences: np.ndarray) -> dict[str, Any]:
    several = table[table["sites_in_cell"] > 1]
    spread = several.groupby("cell")["departure"].std() if len(several) else pd.Series(dtype=float)
    return {
        "sites": len(table),
        "cells": int(table["cell"].nunique()),
        "distance_km": {
            "median": float(table["distance_km"].median()),
            "largest": float(table["distance_km"].max()),
        },
        "cells_with_several_sites": int(several["cell"].nunique()),
        "spread_within_cells": float(spread.median()) if len(spread) else None,
        "absences": int(absences.size),
    }
