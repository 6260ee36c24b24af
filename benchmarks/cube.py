"""python -m benchmarks.cube [--steps 730] [--tile 128] [--repeat 3]

Comparison of codecs and chunks of a cube's shards: compression ratio, MB/s written and read, and
the time to read one date of a tile (for a map) and the series of 200 cells (for training), of daily
temperature and rain; then our writer and reader compared with zarr-python's on the same store. All
MB/s are of float32 values, in one thread, with files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from pipeline.core.files import write_bytes
from pipeline.cube.lazy import read_box
from pipeline.cube.shards import ShardLayout, encode_shard, shard_file
from pipeline.cube.write import create_cube, cube_template, open_cube, write_tile
from pipeline.grid.target_grid import TargetGrid


def _blosc(cname: str, level: int, shuffle: str) -> str:
    settings = {
        "cname": cname, "clevel": level, "shuffle": shuffle, "typesize": 4, "blocksize": 0
    }  # fmt: skip
    return json.dumps({"name": "blosc", "configuration": settings})


CODECS = {
    "none": "",
    "lz4 + byte shuffle": _blosc("lz4", 5, "shuffle"),
    "lz4 + bit shuffle": _blosc("lz4", 5, "bitshuffle"),
    "zstd 1 + byte shuffle": _blosc("zstd", 1, "shuffle"),
    "zstd 1 + bit shuffle": _blosc("zstd", 1, "bitshuffle"),
    "zstd 3 + bit shuffle": _blosc("zstd", 3, "bitshuffle"),
    "zstd 3, no shuffle": json.dumps(
        {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    ),
}


def fields(steps: int, tile: int) -> dict[str, np.ndarray]:
    """Daily temperature (deg C) and rain (mm) like regridded ones: smooth, missing at sea."""
    rng = np.random.default_rng(7)
    smooth = [gaussian_filter(rng.normal(size=(tile, tile)), 6) * 12 for _ in range(40)]
    weather = rng.normal(size=(steps, 40)).astype(np.float32)
    weather = 0.8 * weather + 0.2 * np.roll(weather, 1, axis=0)
    pattern = np.tensordot(weather, np.stack(smooth).astype(np.float32), 1)
    season = 12 * np.sin(np.arange(steps, dtype=np.float32) * 2 * np.pi / 365)[:, None, None]
    temperature = (pattern * 0.7 + season + 10).astype(np.float32)
    rain = np.maximum(pattern - 2.0, 0) ** 1.5
    y, x = np.mgrid[:tile, :tile]
    sea = x + 0.4 * y < 0.3 * tile + 8 * np.sin(y / 9)
    rain, temperature = rain.astype(np.float32), temperature
    rain[:, sea], temperature[:, sea] = np.nan, np.nan
    return {"temperature": temperature, "rain": rain}


def seconds(work: Callable[[], Any], repeat: int) -> float:
    """Median wall time of `work`."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(
    values: np.ndarray, codec: str, chunk: tuple[int, int, int], repeat: int, folder: Path
) -> dict[str, float]:
    """Ratio, and seconds to encode, write, and read all, a map, and the series of 200 cells."""
    chunk = (min(chunk[0], values.shape[0]), *chunk[1:])
    long = -(-values.shape[0] // chunk[0]) * chunk[0]
    shard = (long, *values.shape[1:])
    layout = ShardLayout(
        dims=("time", "y", "x"), shape=values.shape, shard=shard, chunk=chunk, dtype="<f4",
        fill=np.nan, codec=codec,
    )  # fmt: skip
    encoded = encode_shard(values, layout)
    file = shard_file(folder, (0, 0, 0))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, encoded.pieces)
    steps, rows, cols = values.shape
    rng = np.random.default_rng(0)
    cells = [(int(r), int(c)) for r, c in rng.integers(0, (rows, cols), (200, 2))]
    box = [(0, steps), (0, rows), (0, cols)]
    np.testing.assert_array_equal(read_box(folder, layout, box), values)

    def series() -> None:
        for row, col in cells:
            read_box(folder, layout, [(0, steps), (row, row + 1), (col, col + 1)])

    return {
        "ratio": values.nbytes / sum(map(len, encoded.pieces)),
        "encode": seconds(lambda: encode_shard(values, layout), repeat),
        "write": seconds(lambda: write_bytes(file, encoded.pieces), repeat),
        "read": seconds(lambda: read_box(folder, layout, box), repeat),
        "map": seconds(
            lambda: read_box(folder, layout, [(steps // 2, steps // 2 + 1), *box[1:]]), repeat
        ),
        "series": seconds(series, max(1, repeat // 2)),
    }


def layout_table(steps: int, tile: int, repeat: int) -> Table:
    """Table of every codec with the default chunk, then of every chunk with the default codec."""
    table = Table(
        "field", "codec", "chunk (time, y, x)", "ratio", "encode MB/s", "write MB/s", "read MB/s",
        "one map ms", "200 series ms", title=f"one shard of {steps} x {tile} x {tile}",
    )  # fmt: skip
    default = (1024, 16, 16)
    chunks = [(1024, 8, 8), default, (1024, 32, 32), (365, 32, 32), (91, 32, 32), (30, 64, 64),
              (1, tile, tile)]  # fmt: skip
    cases = [(name, default) for name in CODECS]
    cases += [(name, chunk) for name in ("lz4 + bit shuffle", "zstd 1 + bit shuffle")
              for chunk in chunks if chunk != default]  # fmt: skip
    for field, values in fields(steps, tile).items():
        megabytes = values.nbytes / 1e6
        for name, chunk in cases:
            with tempfile.TemporaryDirectory() as folder:
                got = measure(values, CODECS[name], chunk, repeat, Path(folder))
            table.add_row(
                field,
                name,
                str((min(chunk[0], steps), *chunk[1:])),
                f"{got['ratio']:.2f}",
                f"{megabytes / got['encode']:.0f}",
                f"{megabytes / (got['encode'] + got['write']):.0f}",
                f"{megabytes / got['read']:.0f}",
                f"{1e3 * got['map']:.1f}",
                f"{1e3 * got['series']:.0f}",
            )
    return table


def peer_table(steps: int, tile: int, repeat: int) -> Table:
    """Table of writing and reading one tile of two variables, by our code and by zarr-python."""
    grid = TargetGrid.from_bounds("bench", "EPSG:4326", (0, 0, tile / 10, tile / 10), 0.1)
    days = np.datetime64("2000-01-01") + np.arange(steps)
    values = fields(steps, tile)
    variables = {name: {"dims": ("time", "y", "x")} for name in values}
    made = cube_template(grid, days, variables, tile)
    coords = {**grid.coords(), "time": days.astype("datetime64[ns]")}
    ds = xr.Dataset({name: (("time", "y", "x"), v) for name, v in values.items()}, coords)
    megabytes = ds["rain"].nbytes * 2 / 1e6
    table = Table("work", "ours MB/s", "zarr-python MB/s", "ratio", title="against zarr-python")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.zarr", Path(folder) / "theirs.zarr"
        for path in (ours, theirs):
            create_cube(path, made, {})
        group = zarr.open_group(theirs, mode="r+")
        tile_ = made.tiles[0]

        def zarr_write() -> None:
            for name, v in values.items():
                group[name][...] = v

        def zarr_read() -> None:
            for name in values:
                group[name][...]

        def our_read() -> None:
            open_cube(ours).load()

        pairs = {
            "write a tile": (lambda: write_tile(ours, tile_, ds), zarr_write),
            "read a tile": (our_read, zarr_read),
        }
        for name, (mine, other) in pairs.items():
            a, b = megabytes / seconds(mine, repeat), megabytes / seconds(other, repeat)
            table.add_row(name, f"{a:.0f}", f"{b:.0f}", f"{a / b:.1f}x")
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=730)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    console = Console(width=140)
    console.print(peer_table(args.steps, args.tile, args.repeat))
    console.print(layout_table(args.steps, args.tile, args.repeat))


if __name__ == "__main__":
    main()
