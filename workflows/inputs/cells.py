"""Cubes as tables of model locations: choice of cells and variables, labels for folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.core.provenance import fingerprint
from pipeline.cube.cells import any_valid, by_shard, read_cells
from pipeline.cube.open import open_cube
from pipeline.entries.source import Source, Variable
from pipeline.sites.regions import region_labels
from pipeline.sources.open import nearest_cells
from stefaland.data.cell_data import CellData
from stefaland.data.sharded import ShardedCells
from stefaland.tasks import possible_values
from workflows.config.schema import Inputs

FILLED = "input_is_filled"
SITES = "sites"
"""Value of the attribute `of` where every site of a table is its own group."""


@dataclass(frozen=True)
class Labels:
    """Origin of the labels of a cube's cells, for a cube without labels."""

    targets: tuple[Source, ...]
    """Sources of the targets, of which the cells of the coarsest are the groups; empty where every
    cell is its own group."""
    numbered: str
    """Attribute `of` of the groups in that case: sites, or cells of this cube."""
    regions: Source | None
    """Source with polygons of the regions; None where each group is a region."""
    column: str
    """Column of the polygons that holds the names of the regions."""
    variable: str = ""
    """Static variable with the number of each cell's region, where a cube has it."""


@dataclass(frozen=True)
class FurtherNames:
    """Inputs of pretraining in addition to those of the run: names, of statics also patterns."""

    forcings: Sequence[str] = ()
    statics: Sequence[str] = ()


def static_names(ds: xr.Dataset, inputs: Inputs) -> tuple[str, ...]:
    """The static attributes that match the config's patterns, in the config's order.

    Raises `InputError` with every pattern that matches none.
    """
    return _matching(_statics_of(ds, inputs), inputs.static_patterns, "inputs.statics")


def further_names(cubes: Sequence[xr.Dataset], inputs: Inputs, names: FurtherNames) -> Inputs:
    """The inputs with further forcings and static attributes by name, of any of the cubes.

    Raises `InputError` with every name or pattern that no cube has.
    """
    faults, statics = Faults(), static_names(cubes[0], inputs)
    series = sorted({str(name) for ds in cubes for name in ds if "time" in ds[name].dims})
    known = sorted({name for ds in cubes for name in _statics_of(ds, inputs)})
    forcings: tuple[str, ...] = ()
    with faults.collecting():
        forcings = _matching(series, names.forcings, "pretrain.also_forcings")
    with faults.collecting():
        statics += _matching(known, names.statics, "pretrain.also_statics")
    faults.raise_if_any()
    return inputs.model_copy(
        update={
            "forcings": tuple(dict.fromkeys((*inputs.forcings, *forcings))),
            "statics": tuple(dict.fromkeys(statics)),
            "location": False,
            "climate_statics": False,
        }
    )


def _statics_of(ds: xr.Dataset, inputs: Inputs) -> list[str]:
    """Names of the static attributes of a cube, sorted."""
    return sorted(
        str(name)
        for name, da in ds.data_vars.items()
        if "time" not in da.dims and not str(name).endswith(("_coverage", "_is_filled"))
        and name not in (*inputs.targets, "spatial_ref")
    )  # fmt: skip


def _matching(known: Sequence[str], patterns: Sequence[str], where: str) -> tuple[str, ...]:
    """The known names that match the patterns; `InputError` with every pattern without a match."""
    faults = Faults()
    chosen: list[str] = []
    for pattern in patterns:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            kind = "forcing" if where.endswith("forcings") else "static attribute"
            faults.add(f"{where}: {pattern}", f"no such {kind} in the cubes",
                       f"one of {', '.join(known)}", nearest_name(pattern, known))  # fmt: skip
        chosen += [name for name in found if name not in chosen]
    faults.raise_if_any()
    return tuple(chosen)


def static_groups(
    names: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, tuple[str, ...]]:
    """Masking groups of these static attributes, after `variables.yml`: group → names."""
    groups: dict[str, list[str]] = {}
    for name in names:
        variable = variables.get(name) or variables.get(name.split("_fraction_")[0])
        if variable is not None and variable.group:
            groups.setdefault(variable.group, []).append(name)
    return {group: tuple(members) for group, members in groups.items()}


def transforms(
    names: Sequence[str], variables: Mapping[str, Variable], own: Mapping[str, str]
) -> dict[str, str]:
    """The transform of each variable before its z-score: the run's own, or that of `variables`.

    Raises `InputError` for an own transform of a variable that is not among `names`.
    """
    faults = Faults()
    for name in own:
        if name not in names:
            expected = "an input or target of the run"
            faults.add(f"inputs.transforms: {name}", "no such variable", expected,
                       nearest_name(name, names))  # fmt: skip
    faults.raise_if_any()
    usual = {name: variables[name].transform if name in variables else "none" for name in names}
    return usual | dict(own)


def land_mask(ds: xr.Dataset, inputs: Inputs) -> np.ndarray:
    """Mask of the cells with enough land and at least one forcing, dims (y, x) or (cell,)."""
    dims = [dim for dim in ("y", "x", "cell") if dim in ds.dims]
    unseen = np.ones([ds.sizes[dim] for dim in dims], bool)
    if inputs.land_fraction and "y" in ds.dims:
        unseen &= ds[inputs.land_fraction].values >= inputs.min_land_fraction
    land = np.zeros_like(unseen)
    for name in inputs.forcings:
        # A further cube of pretraining may lack some of them.
        if name in ds:
            land |= any_valid(ds[name], unseen & ~land)
    return land


def land_cells(ds: xr.Dataset, inputs: Inputs, cube: str) -> np.ndarray:
    """Flat indices of the land cells of a cube of that name; `InputError` where it has none."""
    mask = land_mask(ds, inputs)
    if not mask.any():
        raise bad_input(
            f"cube {cube}", "no land cell with forcings", "at least one",
            "Check inputs.land_fraction, inputs.min_land_fraction and the grid's bounds.",
        )  # fmt: skip
    return np.flatnonzero(mask)


def read_inputs(ds: xr.Dataset, inputs: Inputs, cells: np.ndarray) -> xr.Dataset:
    """Forcings, static attributes and targets of the cells with these flat indices.

    Dims (cell, time) and (cell,).
    """
    names = [*inputs.forcings, *static_names(ds, inputs)]
    names += [name for name in (*inputs.targets, FILLED) if name in ds]
    return with_closed_targets(read_cells(ds, names, cells), inputs.target_parts)


def read_known(
    ds: xr.Dataset, forcings: Sequence[str], statics: Sequence[str], cells: np.ndarray
) -> xr.Dataset:
    """Forcings and static attributes of these cells, all missing (NaN) where the cube lacks one."""
    table = read_cells(ds, [name for name in (*forcings, *statics) if name in ds], cells)
    dims = {**dict.fromkeys(forcings, ("cell", "time")), **dict.fromkeys(statics, ("cell",))}
    absent = {
        name: (of, np.full([table.sizes[dim] for dim in of], np.nan, np.float32))
        for name, of in dims.items()
        if name not in table
    }
    return table.assign(absent)


def open_cells(cube: Path, inputs: Inputs) -> xr.Dataset:
    """`read_inputs` of all land cells of a cube."""
    ds = open_cube(cube)
    return read_inputs(ds, inputs, land_cells(ds, inputs, cube.stem))


def with_closed_targets(table: xr.Dataset, parts: Sequence[str]) -> xr.Dataset:
    """The table with the fractions of a composition scaled to sum to exactly 1.

    Measured fractions are rounded, but loss and scores need an exact sum. Fractions that are far
    from a sum of 1 are refused or left out by the stats stage. `parts` is empty for other targets.
    """
    names = [name for name in parts if name in table]
    if not names:
        return table
    fractions = xr.concat([table[name] for name in names], "part").transpose(..., "part")
    closed = fractions.copy(data=possible_values("composition", fractions.values))
    return table.assign({name: closed.isel(part=i) for i, name in enumerate(names)})


def cell_index(cube: Path, inputs: Inputs, labels: Labels) -> xr.Dataset:
    """The labelled coordinates of a cube's land cells, without values."""
    ds = open_cube(cube)
    numbers = [labels.variable] if labels.variable in ds else []
    table = labelled(read_cells(ds, numbers, land_cells(ds, inputs, cube.stem)), labels)
    return table.drop_vars(numbers)


def labelled_cells(cube: Path, inputs: Inputs, labels: Labels) -> xr.Dataset:
    """All land cells of a cube with inputs and target, labelled."""
    table, ds = open_cells(cube, inputs), open_cube(cube)
    if labels.variable in ds and labels.variable not in table:
        numbers = read_cells(ds, [labels.variable], land_cells(ds, inputs, cube.stem))
        table = table.assign({labels.variable: numbers[labels.variable]})
        return labelled(table, labels).drop_vars(labels.variable)
    return labelled(table, labels)


def labelled(table: xr.Dataset, labels: Labels) -> xr.Dataset:
    """The table of a cube with the coordinates `group`, `region` and `site` of each cell.

    No fold divides a group, and cells of one `site` are averaged before scoring. The attribute `of`
    of `group` names what the numbers count: groups of two cubes are comparable only where it is
    equal.
    """
    lon, lat = table["lon"].values, table["lat"].values
    if "group" in table.coords:
        group, numbered = table["group"].values, "labels of the source"
        site = table["cell"].values
    elif not labels.targets:
        group = site = table["cell"].values
        numbered = labels.numbered
    else:
        # Neighbours that lie in one source cell of the target are not independent.
        found = [nearest_cells(source, lon, lat) for source in labels.targets]
        group = site = min(found, key=lambda ids: np.unique(ids).size)
        numbered = "source cells of the target"
    if labels.regions is not None:
        region = region_labels(lon, lat, labels.regions, labels.column)
        region = _one_region_a_group(np.asarray(group), np.asarray(region))
    elif labels.variable in table:
        region = _numbered_regions(table, labels.variable)
    elif "region" in table.coords:
        region = table["region"].values
    else:
        region = np.asarray(group).astype(str)
    return table.assign_coords(
        group=("cell", group, {"of": numbered}),
        region=("cell", region.astype(str)),
        site=("cell", site),
    )


def _numbered_regions(table: xr.Dataset, variable: str) -> np.ndarray:
    """The numbers of the cells' regions as text; `InputError` with cells that have no number."""
    numbers = table[variable].values
    wrong = ~(numbers == np.round(numbers))
    if wrong.any():
        raise bad_input(
            f"folds.regions.variable: {variable}",
            f"no whole number at cells, {listed(table['cell'].values[wrong])}",
            "the number of a region at every cell",
        )  # fmt: skip
    return numbers.astype(np.int64).astype(str)


def _one_region_a_group(group: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The most frequent region of each group, for all its cells, so that no group is in two."""
    names, codes = np.unique(region.astype(str), return_inverse=True)
    _, row = np.unique(group, return_inverse=True)
    counts = np.zeros((row.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (row, codes), 1)
    return names[counts.argmax(1)][row]


def cell_data(table: xr.Dataset, inputs: Inputs, statics: Sequence[str] | None = None) -> CellData:
    """The table as tensors; with the target where the table has it."""
    names = tuple(statics) if statics is not None else static_names(table, inputs)
    return CellData.from_dataset(
        table,
        forcings=inputs.forcings,
        statics=names,
        target=inputs.targets if all(name in table for name in inputs.targets) else (),
        filled=FILLED if FILLED in table else None,
    )


def sharded_cells(
    cube: Path, index: xr.Dataset, inputs: Inputs, statics: Sequence[str], made_by: str
) -> ShardedCells:
    """The cells of an index (`cell_index`), read shard by shard while a model trains.

    `made_by` is the fingerprint of the stage that wrote the cube.
    """
    ds = open_cube(cube)
    position = position_of(ds, index)
    shards = by_shard(ds, position)
    order = pd.Index(position).get_indexer(np.concatenate(shards))
    in_order = index.isel(cell=order)
    edges = np.cumsum([len(shard) for shard in shards])[:-1]

    def read(cells: np.ndarray) -> CellData:
        chosen = in_order.isel(cell=pd.Index(in_order["cell"].values).get_indexer(cells))
        table = read_known(ds, inputs.forcings, statics, position_of(ds, chosen))
        return cell_data(table.assign_coords(chosen.coords), inputs, statics)

    return ShardedCells(
        shards=tuple(np.split(in_order["cell"].values.astype(np.int64), edges)),
        read=read,
        time=in_order["time"].values,
        forcing_names=tuple(inputs.forcings),
        static_names=tuple(statics),
        identity=fingerprint([cube.stem, made_by, len(position)]),
        group=in_order["group"].values,
    )


def position_of(ds: xr.Dataset, index: xr.Dataset) -> np.ndarray:
    """Positions of an index's cells in a cube: flat indices on a grid, else along `cell`."""
    ids = index["cell"].values.astype(np.int64)
    return pd.Index(ds["cell"].values).get_indexer(ids) if "cell" in ds.dims else ids
