"""Cell tables of a known process, for tests of training: a bucket driven by rain and heat."""

from __future__ import annotations

import numpy as np
import torch

from stefaland.data.cell_data import CellData


def daily_cells(n: int = 60, days: int = 200, seed: int = 0) -> CellData:
    """`n` buckets of different size and leak; the target is a runoff >= 0 with some gaps."""
    rng = np.random.default_rng(seed)
    size, leak = rng.uniform(20, 120, n), rng.uniform(0.02, 0.3, n)
    rain = rng.gamma(0.3, 12.0, (n, days)) * (1 + 0.5 * np.sin(np.arange(days) / 30))
    heat = 12 + 10 * np.sin(np.arange(days) / 58) + rng.normal(0, 2, (n, days))
    store, flow = size / 2, np.zeros((n, days))
    for day in range(days):
        store = store + rain[:, day] - 0.1 * np.maximum(heat[:, day], 0) * store / size
        spill = np.maximum(store - size, 0)
        flow[:, day] = leak * np.maximum(store, 0) + spill
        store = np.maximum(store - flow[:, day], 0)
    flow[rng.random(flow.shape) < 0.05] = np.nan
    return _table(
        np.stack([rain, heat], -1),
        np.stack([size, leak, rng.normal(size=n)], -1),
        flow[..., None],
        np.arange("2001-01-01", np.datetime64("2001-01-01") + days, dtype="datetime64[D]"),
        ("precipitation", "air_temperature"),
        ("bucket_size", "leak", "noise"),
        "streamflow",
        rng,
    )


def monthly_cells(n: int = 300, seed: int = 0) -> CellData:
    """`n` cells of a 12-month climatology, 4 to a group; the target follows rain and soil."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 1, n // 4).repeat(4)
    month = np.arange(12)
    phase = rng.uniform(0, 12, n // 4).repeat(4)
    season = np.sin((month - phase[:, None]) / 12 * 2 * np.pi)
    rain = 3 * base[:, None] + base[:, None] * season + rng.normal(0, 0.05, (n, 12))
    heat = 20 - 15 * base[:, None] + 8 * season + rng.normal(0, 0.5, (n, 12))
    clay = rng.uniform(0, 1, n)
    wet = 0.05 + 0.1 * np.roll(rain, 1, axis=1) / 3 + 0.1 * clay[:, None]
    wet += rng.normal(0, 0.004, wet.shape)
    return _table(
        np.stack([np.maximum(rain, 0), heat], -1),
        np.stack([clay, base + rng.normal(0, 0.05, n)], -1),
        wet[..., None],
        np.array([f"2001-{m:02d}-15" for m in range(1, 13)], dtype="datetime64[D]"),
        ("precipitation", "air_temperature"),
        ("clay", "wetness_index"),
        "soil_moisture",
        rng,
    )


def _table(
    forcings: np.ndarray, statics: np.ndarray, target: np.ndarray, time: np.ndarray,
    forcing_names: tuple[str, ...], static_names: tuple[str, ...], target_name: str,
    rng: np.random.Generator,
) -> CellData:  # fmt: skip
    n = len(statics)
    lonlat = np.stack([rng.uniform(-180, 180, n), rng.uniform(-60, 80, n)], -1)
    return CellData(
        forcings=torch.from_numpy(forcings).float(),
        statics=torch.from_numpy(statics).float(),
        cell=torch.arange(n) * 3 + 100,
        lonlat=torch.from_numpy(lonlat),
        time=time,
        forcing_names=forcing_names,
        static_names=static_names,
        target=torch.from_numpy(target).float(),
        target_names=(target_name,),
        group=np.arange(n) // 4,
        region=np.array(["north", "south", "west"])[(np.arange(n) // 4) % 3],
    )
