"""Cells without an event, drawn for inventories that list presences alone.

Equal numbers of both, with absences drawn at random away from events, are the practice of
susceptibility studies (Petschko et al. 2014, doi:10.5194/nhess-14-95-2014). An absence is a cell
without a reported event, not one where nothing happened.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from pipeline.core.errors import bad_input
from pipeline.grid.crs import EARTH_RADIUS
from pipeline.grid.curvilinear import unit_vectors
from pipeline.grid.target_grid import TargetGrid


def draw_absences(
    land: np.ndarray,
    events: np.ndarray,
    grid: TargetGrid,
    *,
    ratio: float,
    buffer_km: float,
    reach_km: float | None,
    seed: int,
) -> np.ndarray:
    """Sorted flat indices of cells without an event, `ratio` times as many as cells with one.

    Cells are drawn from `land`, dims (y, x), where their centres are farther than `buffer_km` from
    those of all event cells and, so that they lie in the surveyed area, within `reach_km` of one.
    `events` are flat indices. `InputError` where there are too few candidates.
    """
    with_event = np.unique(events)
    lon, lat = grid.lonlat()
    candidates = np.setdiff1d(np.flatnonzero(land), with_event)
    tree = cKDTree(unit_vectors(lon.ravel()[with_event], lat.ravel()[with_event]))
    chord, _ = tree.query(unit_vectors(lon.ravel()[candidates], lat.ravel()[candidates]))
    kilometres = 2 * np.arcsin(np.minimum(chord / 2, 1)) * EARTH_RADIUS / 1000
    far = kilometres > buffer_km
    if reach_km is not None:
        far &= kilometres <= reach_km
    candidates = candidates[far]
    wanted = round(ratio * with_event.size)
    if candidates.size < wanted:
        reach = "" if reach_km is None else f" and within {reach_km:g} km of one"
        raise bad_input(
            "inputs.absences", f"{candidates.size} land cells farther than {buffer_km:g} km from "
            f"every event{reach}", f"at least {wanted}, {ratio:g} for each of {with_event.size} "
            "cells with an event", "Lower ratio or buffer_km, or raise reach_km.",
        )  # fmt: skip
    drawn = np.random.default_rng((seed, 0xAB5)).choice(candidates, wanted, replace=False)
    return np.sort(drawn)
