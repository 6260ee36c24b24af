"""Drainage networks: units upstream of a gauge, groups of nested basins, means over basins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr


def upstream_units(
    to_segment: np.ndarray, unit_segment: np.ndarray, gauges: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return gauge → positions of the units that drain to its segment.

    `to_segment` and `unit_segment` hold the downstream segment of each segment and unit. Segments
    count from 1; 0 means none.
    """
    above: dict[int, list[int]] = {}
    for segment, downstream in enumerate(np.asarray(to_segment).tolist(), start=1):
        above.setdefault(int(downstream), []).append(segment)
    result = {}
    for gauge, outlet in gauges.items():
        reached: set[int] = set()
        waiting = [int(outlet)]
        while waiting:
            segment = waiting.pop()
            if segment not in reached:
                reached.add(segment)
                waiting += above.get(segment, [])
        result[gauge] = np.flatnonzero(np.isin(unit_segment, sorted(reached)))
    return result


def basin_groups(upstream: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return gauge → the gauge of the largest basin with which it shares units, also indirectly."""
    by_size = sorted(upstream, key=lambda gauge: (-len(upstream[gauge]), gauge))
    owner: dict[int, str] = {}
    group: dict[str, str] = {}
    for gauge in by_size:
        found = {group[owner[unit]] for unit in upstream[gauge].tolist() if unit in owner}
        name = min(found, key=by_size.index) if found else gauge
        for other, label in group.items():
            if label in found:
                group[other] = name
        group[gauge] = name
        owner |= dict.fromkeys(upstream[gauge].tolist(), gauge)
    return group


def area_means(units: xr.Dataset, upstream: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return area-weighted means over the units of each basin, dims (time, cell), (cell,); float32.

    Means are NaN if no unit has a value; `area` is the sum of the units' areas.
    """
    weight = np.zeros((units.sizes["cell"], len(upstream)))
    area = units["area"].values.astype(float)
    for basin, members in enumerate(upstream):
        weight[members, basin] = area[members]
    means: dict[str, Any] = {"area": ("cell", weight.sum(0).astype(np.float32))}
    for name, da in units.data_vars.items():
        if name == "area":
            continue
        values = da.transpose(..., "cell").values.astype(float)
        valid = np.isfinite(values)
        total = valid.astype(float) @ weight
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, (np.where(valid, values, 0.0) @ weight) / total, np.nan)
        means[str(name)] = (da.transpose(..., "cell").dims, mean.astype(np.float32))
    return means
