"""National Hydrologic Model: hydrologic units and gauged basins (drivers `units` and `basins`).

A basin consists of all units that drain to its gauge. Gauges whose basins share a unit have the
same `group`, which a fold must not split. The options of an entry name the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field, model_validator

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, nearest_name
from pipeline.core.settings import Frozen
from pipeline.core.units import CUBIC_FOOT_M3, SECONDS_A_DAY, convert
from pipeline.entries.source import Source, Variable
from pipeline.readers.common.drainage import area_means, basin_groups, upstream_units
from pipeline.readers.common.first_bytes import NETCDF
from pipeline.readers.common.refusals import missing_hint, unreadable
from pipeline.readers.common.site_table import read_options
from pipeline.readers.driver import Driver, common_options
from pipeline.readers.guards.hdf5 import check_hdf5

ACRE_KM2 = 0.0040468564224
SQUARE_MILE_KM2 = 2.589988110336


class UnitsOptions(Frozen):
    """Options of an entry: files of a network of units and gauges below `uri`, and thresholds."""

    forcings: dict[str, str]
    """Canonical forcing → file whose only variable has dims (time, unit)."""
    units: dict[str, str]
    """Canonical forcing → its units, because the files do not use CF spelling."""
    attributes: tuple[str, ...]
    """Files with parameters of the units."""
    channel: str
    """File with `hru_segment`, the segment (from 1) to which each unit drains; 0 is none."""
    segments: str
    """File with `tosegment` (from 1; 0 leaves the network) and the segments of the gauges."""
    observations: str
    """File with the discharge and drainage areas of the gauges."""
    min_acres: float = Field(500.0, ge=0)
    """Minimum area of a unit in acres; smaller ones count in basin means but are not locations."""
    area_tolerance: float = Field(0.1, gt=0)
    """Largest relative difference between a gauge's drainage area and that of its units."""
    max_units: int = Field(150, gt=0)
    """Largest number of units of a basin; larger basins would join most gauges to one group."""

    @model_validator(mode="after")
    def _every_forcing_has_units(self) -> UnitsOptions:
        missing = sorted(set(self.forcings) - set(self.units))
        if missing:
            raise ValueError(f"no units for {', '.join(missing)}: every forcing needs them")
        return self


@dataclass(frozen=True)
class Network:
    """Units with forcings and attributes, and the units that drain to each gauge."""

    units: xr.Dataset
    """Forcings and attributes of all units, dims (time, cell) and (cell,)."""
    upstream: Mapping[str, np.ndarray]
    """Gauge id → positions of the units upstream of it."""
    observations: xr.Dataset
    """Variables `discharge` (gauge, time) in ft3 s-1 and `drainage_area` in square miles."""


def read_units_source(
    source: Source, variables: Mapping[str, Variable], kind: Literal["units", "basins"]
) -> xr.Dataset:
    """Return the units or the basins of a network, in canonical units, float32.

    Coordinates: `cell` (int64), `lat`, `lon` and `group`. The attributes `left_out_*` report units
    and gauges that were left out. Raises `InputError` with all faults of the files and values.
    """
    options = read_options(source, UnitsOptions)
    network = read_network(source, options, variables)
    groups = basin_groups(_kept(network, options)[0])
    if kind == "units":
        return _unit_table(network, options, groups)
    return _basin_table(network, options, groups, source, variables)


def named_files(source: Source) -> list[Path]:
    """Return the NetCDF files that the entry's options name, existing or not, each once."""
    return [Path(source.address) / name for name in _texts(source.options) if name.endswith(".nc")]


def _texts(value: Any) -> list[str]:
    """Return all texts in nested settings, without duplicates."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(text for item in value for text in _texts(item)))
    return [value] if isinstance(value, str) else []


def _path(source: Source, name: str) -> Path:
    path = Path(source.address) / name
    if not path.is_file():
        raise bad_input(
            f'source "{source.name}", {path}', "no such file", "the data of the catalog entry",
            missing_hint(path),
        )  # fmt: skip
    return path


def _open(source: Source, name: str, *wanted: str) -> xr.Dataset:
    path = _path(source, name)
    where = f'source "{source.name}", {path}'
    try:
        check_hdf5(path, where, common_options(source).trust)
        with xr.open_dataset(path, engine="netcdf4") as file:
            ds = file.load()
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, "a whole NetCDF file", *NETCDF) from None
    missing = [variable for variable in wanted if variable not in ds.variables]
    if missing:
        raise bad_input(
            f'source "{source.name}", {path}', f"no {', '.join(missing)}",
            "a file with these variables",
            nearest_name(missing[0], map(str, ds.variables)),
        )  # fmt: skip
    return ds


def _field(source: Source, files: Mapping[str, xr.Dataset], name: str) -> np.ndarray:
    """Return a parameter from the first attribute file that contains it."""
    for ds in files.values():
        if name in ds:
            return np.asarray(ds[name].values)
    known = sorted({str(key) for ds in files.values() for key in ds.variables})
    raise bad_input(
        f'source "{source.name}"', f'no parameter "{name}" in {", ".join(files)}',
        "the parameter in one of these files", nearest_name(name, known),
    )  # fmt: skip


def read_network(
    source: Source, options: UnitsOptions, variables: Mapping[str, Variable]
) -> Network:
    """Read all files of a network; forcings and attributes in canonical units."""
    files = {name: _open(source, name) for name in options.attributes}
    faults = Faults()
    arrays: dict[str, Any] = {}
    time = None
    for name, file in options.forcings.items():
        ds = _open(source, file)
        tables = [str(v) for v in ds.data_vars if ds[v].ndim == 2 and "time" in ds[v].dims]
        if not tables:
            found = ", ".join(map(str, ds.data_vars)) or "nothing"
            faults.add(f'source "{source.name}", {file}', found, "a variable of (time, unit)")
            continue
        da = ds[tables[0]].transpose("time", ...)
        time = da["time"].values if time is None else time
        if not np.array_equal(time, da["time"].values):
            faults.add(
                f'source "{source.name}", {file}', "a different time axis", "one for all files"
            )
            continue
        where = f'source "{source.name}", {file}: {name}'
        values = da.values.astype(np.float32)
        arrays[name] = (
            ("time", "cell"), convert(values, options.units[name], variables[name].units, where)
        )  # fmt: skip
    faults.raise_if_any()
    attributes = _attributes(lambda name: _field(source, files, name))
    arrays |= {name: ("cell", values.astype(np.float32)) for name, values in attributes.items()}
    units = xr.Dataset(
        arrays,
        coords={
            "time": np.asarray(time).astype("datetime64[ns]"),
            "cell": _field(source, files, "nhm_id").astype(np.int64),
            "lat": ("cell", _field(source, files, "hru_lat").astype(np.float64)),
            "lon": ("cell", _field(source, files, "hru_lon").astype(np.float64)),
        },
    )
    _checked(units, source, variables)
    channel = _open(source, options.channel, "hru_segment")
    segments = _open(source, options.segments, "tosegment", "poi_gage_id", "poi_gage_segment")
    gauges = [str(name).strip() for name in segments["poi_gage_id"].values]
    upstream = upstream_units(
        segments["tosegment"].values,
        channel["hru_segment"].values,
        dict(zip(gauges, segments["poi_gage_segment"].values.tolist(), strict=True)),
    )
    wanted = ("discharge", "drainage_area", "poi_id", "time", "latitude", "longitude")
    observations = _open(source, options.observations, *wanted)
    observations["discharge"] = observations["discharge"].transpose("poi_id", "time")
    return Network(units, upstream, observations)


def _attributes(field: Any) -> dict[str, np.ndarray]:
    """Return static attributes of every unit by canonical name, in canonical units.

    PRMS: soil_type 1 sand, 2 loam, 3 clay; cov_type 0 bare, 1 grass, 2 shrub, 3 and 4 trees
    (Markstrom et al. 2015, doi 10.3133/tm6B7).
    """
    aspect = np.deg2rad(field("hru_aspect").astype(float))
    soil, cover = field("soil_type"), field("cov_type")
    return {
        "elevation": field("hru_elev"),
        "slope": np.rad2deg(np.arctan(field("hru_slope"))),
        "aspect_sine": np.sin(aspect),
        "aspect_cosine": np.cos(aspect),
        "area": field("hru_area") * ACRE_KM2,
        "soil_water_capacity": field("soil_moist_max") * 25.4,
        "sandy_soil": soil == 1,
        "loamy_soil": soil == 2,
        "impervious_fraction": field("hru_percent_imperv"),
        "depression_fraction": field("dprst_frac"),
        "cover_density_summer": field("covden_sum"),
        "cover_density_winter": field("covden_win"),
        "cover_bare": cover == 0,
        "cover_grass": cover == 1,
        "cover_shrub": cover == 2,
        "cover_trees": cover >= 3,
    }


def _checked(ds: xr.Dataset, source: Source, variables: Mapping[str, Variable]) -> None:
    faults = Faults()
    for name in map(str, ds.data_vars):
        if name not in variables:
            hint = nearest_name(name, variables)
            faults.add(f'source "{source.name}": {name}', "no canonical variable of this name",
                       "a name from variables.yml", hint)  # fmt: skip
            continue
        variable, values = variables[name], ds[name].values
        ds[name].attrs = {"units": variable.units, "long_name": variable.long_name}
        if not np.isfinite(values).any():
            faults.add(f'source "{source.name}": {name}', "no valid value", "values")
        elif variable.valid_range is not None:
            low, high = variable.valid_range
            lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
            if lowest < low or highest > high:
                faults.add(
                    f'source "{source.name}": {name}',
                    f"values from {lowest:g} to {highest:g} {variable.units}",
                    f"{low:g} to {high:g}", "Check the units of the entry.",
                )  # fmt: skip
    faults.raise_if_any()


def _kept(network: Network, options: UnitsOptions) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the gauges that become basins with their units, and the reasons for the others."""
    area = network.units["area"].values.astype(float)
    kept, left_out = {}, {}
    ids = [str(name).strip() for name in network.observations["poi_id"].values]
    for index, gauge in enumerate(ids):
        discharge = network.observations["discharge"].values[index]
        units = network.upstream.get(gauge, np.zeros(0, int))
        stated = float(network.observations["drainage_area"].values[index]) * SQUARE_MILE_KM2
        ratio = area[units].sum() / stated if stated > 0 else np.nan
        if not np.isfinite(discharge).all():
            left_out[gauge] = "discharge has gaps"
        elif not units.size:
            left_out[gauge] = "no unit drains to it"
        elif not abs(ratio - 1) <= options.area_tolerance:
            left_out[gauge] = f"its units have {ratio:.2f} times its drainage area"
        elif units.size > options.max_units:
            left_out[gauge] = f"it spans {units.size} units of several sub-basins"
        else:
            kept[gauge] = units
    return kept, left_out


def _unit_table(network: Network, options: UnitsOptions, groups: Mapping[str, str]) -> xr.Dataset:
    kept, _ = _kept(network, options)
    cells = network.units["cell"].values
    group = np.array([f"unit {cell}" for cell in cells], dtype=object)
    for gauge, units in kept.items():
        group[units] = groups[gauge]
    large = network.units["area"].values >= options.min_acres * ACRE_KM2
    table = network.units.assign_coords(group=("cell", group.astype(str))).isel(cell=large)
    return table.assign_attrs(left_out_slivers=int((~large).sum()))


def _basin_table(
    network: Network,
    options: UnitsOptions,
    groups: Mapping[str, str],
    source: Source,
    variables: Mapping[str, Variable],
) -> xr.Dataset:
    kept, left_out = _kept(network, options)
    if not kept:
        raise bad_input(f'source "{source.name}"', "no usable gauge", "at least one", str(left_out))
    ids = [str(name).strip() for name in network.observations["poi_id"].values]
    gauges = network.observations.isel(poi_id=[ids.index(gauge) for gauge in kept])
    area_m2 = gauges["drainage_area"].values.astype(float) * SQUARE_MILE_KM2 * 1e6
    flow = gauges["discharge"].transpose("time", "poi_id").values.astype(float)
    # Depth over the basin: ft3 s-1 → m3/day, over m2, in mm.
    depth = flow * CUBIC_FOOT_M3 * SECONDS_A_DAY / area_m2 * 1000.0
    times = gauges["time"].values.astype("datetime64[ns]")
    if not np.array_equal(times, network.units["time"].values):
        raise bad_input(
            f'source "{source.name}", {options.observations}', f"times from {times[0]}",
            f"the times of the forcings, from {network.units['time'].values[0]}",
        )  # fmt: skip
    table = xr.Dataset(
        {
            **area_means(network.units, list(kept.values())),
            "streamflow": (("time", "cell"), depth.astype(np.float32)),
        },
        coords={
            "time": times,
            "cell": np.array([int(gauge) for gauge in kept], dtype=np.int64),
            "lat": ("cell", gauges["latitude"].values.astype(np.float64)),
            "lon": ("cell", gauges["longitude"].values.astype(np.float64)),
            "group": ("cell", np.array([groups[gauge] for gauge in kept], dtype=str)),
        },
        attrs={"left_out_gauges": dict(sorted(left_out.items()))},
    )
    _checked(table, source, variables)
    return table


def _driver(name: Literal["units", "basins"]) -> Driver:
    read = partial(read_units_source, kind=name)
    return Driver(
        name=name, open=read, returns="network", options=UnitsOptions, files=named_files,
        is_remote=False,
    )  # fmt: skip


UNITS, BASINS = _driver("units"), _driver("basins")
