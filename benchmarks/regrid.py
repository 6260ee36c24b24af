"""Speed, memory and accuracy of regrid(), compared with common tools in the same run.

    python benchmarks/regrid.py --days 365 --threads 2

A global 0.25 degree float32 field with 30 % of its values missing is regridded to CONUS 0.1 degree
(bilinear) and to the global 0.5 degree grid (conservative). Every contender runs in its own process
on the same field; time is the median of --repeat calls after one to warm up, memory the peak above
the input. Peers that are not installed are left out: `pip install xarray-regrid sparse
opt_einsum`; rioxarray, odc-geo and rasterio come with the project.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xarray as xr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.grid.target_grid import TargetGrid  # noqa: E402

TARGETS = {
    "bilinear": TargetGrid.from_bounds("c", "EPSG:4326", (-125, 24, -66.5, 50), 0.1),
    "conservative": TargetGrid.from_bounds("g", "EPSG:4326", (-180, -90, 180, 90), 0.5),
}
CROP = {"y": slice(51, 23), "x": slice(-126, -65.5)}


def field(days: int) -> xr.Dataset:
    """Temperature-like field, dims (time, y, x), of which a random 30 % is missing in each step."""
    y, x = 90 - 0.25 * np.arange(721), -180 + 0.25 * np.arange(1440)
    random = np.random.default_rng(0)
    base = 250 + 50 * np.cos(np.deg2rad(y))[:, None] + 5 * random.random((721, 1440))
    base = base.astype(np.float32)
    base[random.random(base.shape) < 0.3] = np.nan
    values = np.empty((days, 721, 1440), np.float32)
    for day in range(days):
        values[day] = np.roll(base, 7 * day, axis=1) + np.float32(0.01 * day)
    return xr.Dataset(
        {"t": (("time", "y", "x"), values)},
        coords={"time": np.arange(days), "y": y, "x": x},
    )


def ours(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    from pipeline.regridding.regrid import regrid

    result = regrid(ds, TARGETS[method], method, threads=threads)
    return np.stack([result.t.values[0], result.t_coverage.values[0]])


def xarray_interp(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    if method != "bilinear":
        raise ImportError("no conservative method")
    target = TARGETS[method]
    return ds.t.sel(CROP).interp(y=target.y, x=target.x, method="linear").values


def _regrid_target(method: str) -> xr.Dataset:
    target = TARGETS[method]
    return xr.Dataset(coords={"y": target.y[::-1], "x": target.x})


def xarray_regrid(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    import xarray_regrid  # noqa: F401

    if method == "bilinear":
        return ds.t.sel(CROP).regrid.linear(_regrid_target(method)).values
    result = ds.t.regrid.conservative(
        _regrid_target(method), latitude_coord="y", skipna=True, nan_threshold=0.5
    )
    return _dense(result)


def xarray_regrid_dask(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    import dask
    import sparse  # noqa: F401
    import xarray_regrid  # noqa: F401

    if method == "bilinear":
        raise ImportError("as without Dask")
    with dask.config.set(scheduler="threads", num_workers=threads):
        chunked = ds.t.chunk(time=8).regrid.conservative(
            _regrid_target(method), latitude_coord="y", skipna=True, nan_threshold=0.5
        )
        return _dense(chunked.compute())


def _dense(da: xr.DataArray) -> np.ndarray:
    return da.data.todense() if hasattr(da.data, "todense") else da.values


def _cropped(ds: xr.Dataset, method: str) -> xr.DataArray:
    return ds.t.sel(CROP) if method == "bilinear" else ds.t


def gdal_warp(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    from affine import Affine
    from rasterio.warp import Resampling, reproject

    da, target = _cropped(ds, method), TARGETS[method]
    out = np.empty((da.sizes["time"], *target.shape), np.float32)
    west, north = float(da.x[0]) - 0.125, float(da.y[0]) + 0.125
    reproject(
        da.values, out, src_transform=Affine(0.25, 0, west, 0, -0.25, north), src_crs="EPSG:4326",
        dst_transform=target.transform, dst_crs="EPSG:4326", src_nodata=np.nan, dst_nodata=np.nan,
        resampling=Resampling.bilinear if method == "bilinear" else Resampling.average,
        num_threads=threads,
    )  # fmt: skip
    return out


def rioxarray_reproject(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    import rioxarray  # noqa: F401
    from rasterio.warp import Resampling

    target = TARGETS[method]
    da = _cropped(ds, method).rio.write_crs("EPSG:4326").rio.write_nodata(np.nan)
    return da.rio.reproject(
        "EPSG:4326", shape=target.shape, transform=target.transform, num_threads=threads,
        resampling=Resampling.bilinear if method == "bilinear" else Resampling.average,
    ).values  # fmt: skip


def odc_geo(ds: xr.Dataset, method: str, threads: int) -> np.ndarray:
    from odc.geo.xr import xr_reproject

    da = _cropped(ds, method).odc.assign_crs("EPSG:4326")
    how = "bilinear" if method == "bilinear" else "average"
    return xr_reproject(da, TARGETS[method].geobox, resampling=how, dst_nodata=np.nan).values


CONTENDERS: dict[str, Callable[[xr.Dataset, str, int], np.ndarray]] = {
    "stefaland regrid()": ours,
    "xarray interp": xarray_interp,
    "xarray-regrid": xarray_regrid,
    "xarray-regrid, Dask + sparse": xarray_regrid_dask,
    "GDAL warp": gdal_warp,
    "rioxarray": rioxarray_reproject,
    "odc-geo": odc_geo,
}


def reference(ds: xr.Dataset, method: str) -> np.ndarray:
    """The first time step from dense float64 matrices over the valid values; NaN below half."""
    y, x, target = ds.y.values, ds.x.values, TARGETS[method]
    if method == "bilinear":
        wy = np.maximum(1 - np.abs(target.y[:, None] - y) / 0.25, 0)
        wx = np.maximum(1 - np.abs(target.x[:, None] - x) / 0.25, 0)
    else:
        turns = [_overlap(target.x_edges, x - 0.125 + t, x + 0.125 + t) for t in (-360, 0, 360)]
        wx = sum(turns)
        sines = np.sin(np.deg2rad(np.clip([y - 0.125, y + 0.125], -90, 90)))
        wy = _overlap(np.sin(np.deg2rad(target.y_edges[::-1])), *sines)[::-1]
    wy, wx = (w / w.sum(axis=1, keepdims=True) for w in (wy, wx))
    values = ds.t.values[0].astype(float)
    valid = np.isfinite(values)
    share = wy @ valid @ wx.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share >= 0.5, wy @ np.where(valid, values, 0) @ wx.T / share, np.nan)


def _overlap(edges: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    high = np.minimum(edges[1:, None], upper)
    return np.maximum(high - np.maximum(edges[:-1, None], lower), 0)


def _memory(key: str) -> float:
    """A value of /proc/self/status in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1e6
    return float("nan")


def contend(name: str, method: str, days: int, threads: int, repeat: int) -> dict[str, float]:
    """Median seconds, peak memory (GB) above the input, and largest error, in this process."""
    ds, call = field(days), CONTENDERS[name]
    call(ds.isel(time=slice(0, 2)), method, threads)
    seconds, peak = [], 0.0
    # Measured before any whole result, so that memory kept between calls counts.
    before = _memory("VmRSS")
    for _ in range(repeat):
        result = np.empty(0)
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        result = call(ds, method, threads)
        seconds.append(time.perf_counter() - start)
        peak = max(peak, _memory("VmHWM") - before)
    first = result[0][::-1] if name.startswith("xarray-regrid") else result[0]
    expected = reference(ds, method)
    both = np.isfinite(first) & np.isfinite(expected)
    scale = np.nanmax(ds.t.values[0]) - np.nanmin(ds.t.values[0])
    error = np.abs(first - expected)[both].max() / scale
    return {"seconds": statistics.median(seconds), "memory": peak, "error": float(error)}


def bandwidth(days: int, threads: int) -> dict[str, float]:
    """GB/s read and written by np.copyto of the field, in one thread and in all."""
    values = field(days).t.values
    target = np.empty_like(values)
    parts = np.array_split(np.arange(days), threads)

    def copy(part: np.ndarray) -> None:
        np.copyto(target[part[0] : part[-1] + 1], values[part[0] : part[-1] + 1])

    best = {"one": np.inf, "all": np.inf}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(4):
            start = time.perf_counter()
            np.copyto(target, values)
            middle = time.perf_counter()
            list(pool.map(copy, parts))
            best["one"] = min(best["one"], middle - start)
            best["all"] = min(best["all"], time.perf_counter() - middle)
    return {key: 2 * values.nbytes / 1e9 / seconds for key, seconds in best.items()}


def run(*arguments: str) -> dict[str, float] | None:
    """One measurement in a fresh process; None where the peer is missing or fails."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["?"])[-1]
        print(f"  left out: {reason[:100]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--method", choices=sorted(TARGETS), help="Only this method.")
    parser.add_argument("--only", nargs=2, metavar=("NAME", "METHOD"))
    parser.add_argument("--bandwidth", action="store_true")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(contend(*args.only, args.days, args.threads, args.repeat)))
        return
    if args.bandwidth:
        print(json.dumps(bandwidth(args.days, args.threads)))
        return
    options = [f"--{k}={getattr(args, k)}" for k in ("days", "threads", "repeat")]
    speed = run(*options, "--bandwidth") or {}
    print(f"np.copyto moves {speed['one']:.1f} GB/s in one thread, {speed['all']:.1f} in all\n")
    for method, target in TARGETS.items():
        if args.method not in (None, method):
            continue
        crop = field(1).t.sel(CROP) if method == "bilinear" else field(1).t
        moved = args.days * 4 * (crop.size + 2 * target.shape[0] * target.shape[1]) / 1e9
        results = {n: r for n in CONTENDERS if (r := run(*options, "--only", n, method))}
        report(method, results, moved, speed)


def report(method: str, results: dict, moved: float, speed: dict) -> None:
    """Print the table of one method with ratios to ours, and the bandwidth."""
    ours = results["stefaland regrid()"]
    print(f"## {method}\n\n| contender | seconds | times ours | peak GB | largest error / range |")
    print("|---|---|---|---|---|")
    for name, r in sorted(results.items(), key=lambda item: item[1]["seconds"]):
        print(f"| {name} | {r['seconds']:.3f} | {r['seconds'] / ours['seconds']:.1f} "
              f"| {r['memory']:.2f} | {r['error']:.1e} |")  # fmt: skip
    rate = moved / ours["seconds"]
    print(f"\n{moved:.2f} GB must move; ours moves {rate:.1f} GB/s: {rate / speed['one']:.0%} of "
          f"np.copyto in one thread, {rate / speed['all']:.0%} of all threads\n")  # fmt: skip


if __name__ == "__main__":
    main()
