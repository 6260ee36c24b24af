"""Cubes as tables of model locations: which cells, which variables, which labels.

Upstream: cubes. Downstream: every stage that trains, predicts or scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.provenance import fingerprint
from pipeline.cube.cells import any_valid, by_shard, read_cells
from pipeline.cube.open import open_cube
from pipeline.entries.source import Source
from pipeline.sites.regions import region_labels
from pipeline.sources.open import nearest_cells
from stefaland.data.cell_data import CellData, interleaved
from stefaland.data.sharded import ShardedCells
from stefaland.tasks import possible_values, values_of
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run

FILLED = "input_is_filled"
SITES = "sites"
"""What groups number where each site of a table is its own."""


def static_names(run: Run, ds: xr.Dataset) -> tuple[str, ...]:
    """The static attributes the config's patterns choose, in the config's order."""
    inputs = run.config.inputs
    known = sorted(
        str(name)
        for name, da in ds.data_vars.items()
        if "time" not in da.dims and not str(name).endswith(("_coverage", "_is_filled"))
        and name not in (*inputs.targets, "spatial_ref")
    )  # fmt: skip
    faults = Faults()
    chosen: list[str] = []
    for pattern in inputs.statics:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            expected = f"one of {', '.join(known)}"
            faults.add(f"inputs.statics: {pattern}", "no such static attribute in the cubes",
                       expected, nearest_name(pattern, known))  # fmt: skip
        chosen += [name for name in found if name not in chosen]
    faults.raise_if_any()
    return tuple(chosen)


def static_groups(run: Run, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The masking groups of these static attributes, as `variables.yml` has them (spec §2)."""
    groups: dict[str, list[str]] = {}
    for name in names:
        variable = run.variables.get(name) or run.variables.get(name.split("_fraction_")[0])
        if variable is not None and variable.group:
            groups.setdefault(variable.group, []).append(name)
    return {group: tuple(members) for group, members in groups.items()}


def transforms(run: Run, names: Sequence[str]) -> dict[str, str]:
    """The transform of each variable before its z-score, as `variables.yml` has it."""
    return {name: run.variables[name].transform if name in run.variables else "none"
            for name in names}  # fmt: skip


def land_mask(run: Run, ds: xr.Dataset) -> np.ndarray:
    """Where the model may be run, dims (y, x) or (cell,): enough land and at least one forcing."""
    inputs = run.config.inputs
    dims = [dim for dim in ("y", "x", "cell") if dim in ds.dims]
    unseen = np.ones([ds.sizes[dim] for dim in dims], bool)
    if inputs.land_fraction and "y" in ds.dims:
        unseen &= ds[inputs.land_fraction].values >= inputs.min_land_fraction
    land = np.zeros_like(unseen)
    for name in inputs.forcings:
        land |= any_valid(ds[name], unseen & ~land)
    return land


def open_cells(
    run: Run, cube: str, cells: np.ndarray | None = None, ds: xr.Dataset | None = None
) -> xr.Dataset:
    """A cube's land cells (or those of the flat indices `cells`), dims (cell, time) and (cell,).

    `ds` is the cube where it is open already.
    """
    ds = open_cube(run.cube(cube)) if ds is None else ds
    inputs = run.config.inputs
    names = [*inputs.forcings, *static_names(run, ds)]
    names += [name for name in (*inputs.targets, FILLED) if name in ds]
    table = read_cells(ds, names, land_cells(run, cube, ds) if cells is None else cells)
    return with_whole_targets(run, table)


def with_whole_targets(run: Run, table: xr.Dataset) -> xr.Dataset:
    """Shares as shares of exactly 1: measured ones are rounded, and loss and scores need a whole.

    Those that make no whole are refused or left out by the stats stage.
    """
    names = [name for name in run.config.inputs.targets if name in table]
    if values_of(run.config.finetune.task) != "composition" or not names:
        return table
    shares = xr.concat([table[name] for name in names], "part").transpose(..., "part")
    whole = shares.copy(data=possible_values("composition", shares.values))
    return table.assign({name: whole.isel(part=i) for i, name in enumerate(names)})


def land_cells(run: Run, cube: str, ds: xr.Dataset) -> np.ndarray:
    """Flat indices of a cube's land cells; `InputError` where it has none."""
    mask = land_mask(run, ds)
    if not mask.any():
        raise bad_input(
            f"cube {cube}", "no land cell with forcings", "at least one",
            "Check inputs.land_fraction, inputs.min_land_fraction and the grid's bounds.",
        )  # fmt: skip
    return np.flatnonzero(mask)


def cell_index(run: Run, cube: str) -> xr.Dataset:
    """The labelled coordinates of a cube's land cells, without values: small for any cube."""
    ds = open_cube(run.cube(cube))
    return labelled(run, read_cells(ds, [], land_cells(run, cube, ds)), cube)


def _source_cell(run: Run, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Index of the target's source cell that each place lies in: neighbours that share one are not
    independent.
    """
    source: Source = next(
        run.catalog[name]
        for name in run.config.inputs.sources
        if run.config.inputs.target in run.catalog[name].variables
    )
    return nearest_cells(source, lon, lat)


def labelled(run: Run, table: xr.Dataset, cube: str | None = None) -> xr.Dataset:
    """The table of a cube (by default the finetuning one) with coordinates `group` (never cut by a
    fold), `region` and `site` (scored).

    The attribute `of` of `group` says what is numbered: between cubes groups are the same only
    where it is the same.
    """
    cube = cube or run.config.finetune.cube
    lon, lat = table["lon"].values, table["lat"].values
    regions = run.config.folds.regions
    if "group" in table.coords:
        group, of = table["group"].values, "labels of the source"
        site = table["cell"].values
    elif run.config.cubes[run.config.finetune.cube].locations or run.config.inputs.target_sites:
        # Sites of a table, or the cells that sites lie in: each is observed by itself.
        group = site = table["cell"].values
        of = SITES if run.config.cubes[cube].locations else f"cells of {cube}"
    else:
        group = site = _source_cell(run, lon, lat)
        of = "source cells of the target"
    if regions.source:
        region = region_labels(lon, lat, run.catalog[regions.source], regions.column)
        region = _one_region_a_group(np.asarray(group), np.asarray(region))
    elif "region" in table.coords:
        region = table["region"].values
    else:
        region = np.asarray(group).astype(str)
    return table.assign_coords(
        group=("cell", group, {"of": of}), region=("cell", region.astype(str)), site=("cell", site)
    )


def _one_region_a_group(group: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Each group's most frequent region, so that no group straddles two."""
    names, codes = np.unique(region.astype(str), return_inverse=True)
    _, place = np.unique(group, return_inverse=True)
    counts = np.zeros((place.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (place, codes), 1)
    return names[counts.argmax(1)][place]


def cell_data(run: Run, table: xr.Dataset, statics: Sequence[str] | None = None) -> CellData:
    """The table as tensors; the target is included where the table has it."""
    inputs = run.config.inputs
    names = tuple(statics) if statics is not None else static_names(run, table)
    has_target = all(name in table for name in inputs.targets)
    labels: Mapping[str, Any] = {
        name: table[name].values for name in ("group", "region") if name in table.coords
    }
    return CellData(
        forcings=_stack(table, inputs.forcings, ("cell", "time")),
        statics=_stack(table, names, ("cell",)),
        cell=torch.from_numpy(table["cell"].values.astype(np.int64)),
        lonlat=torch.from_numpy(
            np.stack([table["lon"].values, table["lat"].values], 1).astype(np.float32)
        ),
        time=table["time"].values,
        forcing_names=tuple(inputs.forcings),
        static_names=names,
        target=_over_time(table, inputs.targets) if has_target else None,
        target_names=inputs.targets if has_target else (),
        group=labels.get("group"),
        region=labels.get("region"),
        filled=torch.from_numpy(table[FILLED].values == 1) if FILLED in table else None,
    )


def _stack(table: xr.Dataset, names: Sequence[str], dims: tuple[str, ...]) -> torch.Tensor:
    if not names:
        return torch.zeros((*(table.sizes[dim] for dim in dims), 0))
    return interleaved([table[name].transpose(*dims).values for name in names])


def _over_time(table: xr.Dataset, names: Sequence[str]) -> torch.Tensor:
    """[N, T, O]; what has one value a place has it at every time."""
    times = table["time"]
    series = {
        name: table[name] if "time" in table[name].dims else table[name].expand_dims(time=times)
        for name in names
    }
    return _stack(xr.Dataset(series), names, ("cell", "time"))


def sharded_cells(run: Run, cube: str, index: xr.Dataset, statics: Sequence[str]) -> ShardedCells:
    """The cells of an index (`cell_index`) that are read shard by shard while a model trains."""
    ds = open_cube(run.cube(cube))
    position = position_of(ds, index)
    shards = by_shard(ds, position)
    order = pd.Index(position).get_indexer(np.concatenate(shards))
    own = index.isel(cell=order)
    edges = np.cumsum([len(shard) for shard in shards])[:-1]
    names = [*run.config.inputs.forcings, *statics]

    def read(cells: np.ndarray) -> CellData:
        chosen = own.isel(cell=pd.Index(own["cell"].values).get_indexer(cells))
        table = read_cells(ds, names, position_of(ds, chosen))
        return cell_data(run, table.assign_coords(chosen.coords), statics)

    return ShardedCells(
        tuple(np.split(own["cell"].values.astype(np.int64), edges)),
        read,
        own["time"].values,
        tuple(run.config.inputs.forcings),
        tuple(statics),
        fingerprint([cube, stage_fingerprint(run, "regrid"), len(position)]),
        group=own["group"].values,
    )


def position_of(ds: xr.Dataset, index: xr.Dataset) -> np.ndarray:
    """Flat indices of an index's cells in a cube, or their positions in a store of locations."""
    ids = index["cell"].values.astype(np.int64)
    return pd.Index(ds["cell"].values).get_indexer(ids) if "cell" in ds.dims else ids


def target_table(run: Run) -> xr.Dataset:
    """`target` with dims (cell, time) of every cell of the finetuning cube, labelled."""
    table = labelled(run, open_cells(run, run.config.finetune.cube))
    return table[[run.config.inputs.target]].rename({run.config.inputs.target: "target"}).load()
