"""A small made-up table of cells, for examples and first steps."""

from __future__ import annotations

import numpy as np
import torch

from stefaland.data.cell_data import CellData


def example_cells(n_cells: int = 12, n_days: int = 60, seed: int = 0) -> CellData:
    """Made-up soil moisture (m3 m-3) of N cells over T days, driven by rain and held by clay.

    Forcings `precipitation` (mm/day) and `air_temperature` (degC), static attribute `clay` (1).
    The same seed makes the same values.

    >>> cells = example_cells()
    >>> cells.forcings.shape, cells.target_names
    (torch.Size([12, 60, 2]), ('soil_moisture',))
    """
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.5, 8.0, (n_cells, n_days))
    warmth = 12 + 8 * np.sin(np.arange(n_days) / 9) + rng.normal(0, 1, (n_cells, n_days))
    clay = rng.uniform(0.1, 0.5, n_cells)
    moisture = np.empty((n_cells, n_days))
    store = 40.0 + 60.0 * clay
    for day in range(n_days):
        store = np.clip(store + rain[:, day] - 0.02 * store * (1.2 - clay), 0.0, 150.0)
        moisture[:, day] = 0.05 + 0.0025 * store
    first = np.datetime64("2001-01-01", "ns")
    return CellData(
        forcings=torch.from_numpy(np.stack([rain, warmth], -1)).float(),
        statics=torch.from_numpy(clay[:, None]).float(),
        cell=torch.arange(n_cells),
        lonlat=torch.from_numpy(
            np.stack([5 + np.arange(n_cells), 45 + np.zeros(n_cells)], 1)
        ).float(),
        time=first + np.arange(n_days) * np.timedelta64(1, "D"),
        forcing_names=("precipitation", "air_temperature"),
        static_names=("clay",),
        target=torch.from_numpy(moisture[..., None]).float(),
        target_names=("soil_moisture",),
    )
