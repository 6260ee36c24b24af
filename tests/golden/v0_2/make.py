"""Make the fixtures of version 0.2.0: a run of all stages, a checkpoint of every kind, and what
that version's code says of them.

Run it with the code of version 0.2.0 (commit 2813ae2), never with a later one:

    PYTHONPATH=CHECKOUT_OF_0_2_0 OMP_NUM_THREADS=1 python make.py

It works in the folder it lies in, with the config.yml, catalog.yml and target_grids.yml there, and
writes sources/, run.tar.gz, checkpoints/ and expected.json.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import xarray as xr

from pipeline.cf import open_map_zarr
from pipeline.provenance import code_version, versions
from pipeline.store import open_cube
from stefaland.checkpoint import load_checkpoint, stored_normaliser
from stefaland.config import FinetuneConfig, ModelConfig, PretrainConfig
from stefaland.dataset import CellData, fit_normaliser
from stefaland.finetune import finetune, load_member, train_baseline
from stefaland.lstm import LSTMConfig
from stefaland.normalise import Normaliser
from stefaland.patchtst import PatchTSTConfig
from stefaland.predict import predict_cells
from stefaland.represent import embed_cells
from stefaland.splits import Fold
from stefaland.train import pretrain
from stefaland.windows import Windows
from workflows.config import load_config
from workflows.context import Run
from workflows.state import read_json
from workflows.status import stages

HERE = Path(__file__).resolve().parent
VERSION = "0.2.0"
MOMENT = 1_000_000_000
"""Modification time (s) of all sources and of all files of the archive: stages stamp their sources
with theirs."""
WINDOW, WARMUP, STEPS = 12, 3, 16
"""Of the checkpoints' networks, and the time steps that they are asked for."""
DAY = 10
"""Time step of stores whose values are told."""
DIGITS = 9
"""Of stored numbers: a float32 has no more."""


def main() -> None:
    """Make everything."""
    if versions()["stefaland"] != VERSION:
        sys.exit(f"this is stefaland {versions()['stefaland']}: the fixtures are of {VERSION}")
    os.chdir(HERE)
    os.environ |= {"STEFALAND_DATA": "sources", "STEFALAND_RUNS": ".", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    for name in ("sources", "run", "checkpoints"):
        shutil.rmtree(name, ignore_errors=True)
    write_sources(Path("sources"))
    stefaland("run", "config.yml")
    stefaland("score", "--compare", "run", "run:ridge", "--out", "comparison")
    prune(Path("run"))
    expected = {
        "version": VERSION,
        "code": code_version(),
        **what_the_run_says(),
        "checkpoints": make_checkpoints(Path("checkpoints")),
    }
    write_lines(Path("expected.json"), expected)
    pack(Path("run"))
    for name in ("run", "comparison"):
        shutil.rmtree(name)


def write_lines(path: Path, values: Mapping[str, Any]) -> None:
    """JSON with a line for each value, and for each value of a value that is a mapping."""
    lines = []
    for name, value in values.items():
        text = json.dumps(value)
        if isinstance(value, dict):
            parts = [f"  {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
            text = "{\n" + ",\n".join(parts) + "\n }"
        lines.append(f" {json.dumps(name)}: {text}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def stefaland(*arguments: str) -> None:
    """Run the command line as a user would."""
    subprocess.run([sys.executable, "-m", "workflows.cli", *arguments], check=True)


# The run


def write_sources(folder: Path) -> None:
    """60 days of rain and heat on 6 x 8 cells of a degree, wetness on cells of 2 degrees, heights.

    One column and a corner are sea; some values are missing.
    """
    folder.mkdir()
    rng = np.random.default_rng(20_260_101)
    time = np.arange("2001-01-01", "2001-03-02", dtype="datetime64[D]").astype("datetime64[ns]")
    lat, lon = 42.5 - np.arange(6.0), -107.5 + np.arange(8.0)
    shape = (len(time), len(lat), len(lon))
    rain = rng.gamma(0.4, 8.0, shape).round(1)
    season = 8 * np.sin(np.arange(len(time)) / 15)[:, None, None]
    heat = (season + np.linspace(0, 8, len(lat))[:, None] + rng.normal(0, 2, shape)).round(1)
    height = (1500 + 400 * rng.normal(size=shape[1:])).round()
    wet, now = np.zeros(shape), np.full(shape[1:], 0.2)
    for day in range(len(time)):
        now = 0.93 * now + 0.0015 * rain[day] + 0.0004 * np.maximum(10 - heat[day], 0)
        wet[day] = now
    wide = wet.reshape(len(time), 3, 2, 4, 2).mean((2, 4)).round(3)
    wide[rng.random(wide.shape) < 0.05] = np.nan
    sea = np.zeros(shape[1:], bool)
    sea[:, -1] = sea[0, :2] = True
    rain[:, sea] = heat[:, sea] = np.nan
    rain[5, 2, 3] = np.nan
    fine = {"lat": lat, "lon": lon}
    coarse = {"lat": lat.reshape(3, 2).mean(1), "lon": lon.reshape(4, 2).mean(1)}
    of_files = {
        "forcings": ({"rain": (rain, "mm/day"), "heat": (heat, "degC")}, {"time": time, **fine}),
        "soil_moisture": ({"wet": (wide, "m3 m-3")}, {"time": time, **coarse}),
        "elevation": ({"height": (height, "m")}, fine),
    }
    for name, (variables, coords) in of_files.items():
        arrays = {
            variable: (tuple(coords), values.astype(np.float32), {"units": units})
            for variable, (values, units) in variables.items()
        }
        path = folder / f"{name}.nc"
        xr.Dataset(arrays, coords).to_netcdf(path, format="NETCDF3_CLASSIC")
        os.utime(path, (MOMENT, MOMENT))


def prune(run: Path) -> None:
    """Remove pictures, the page and what later stages alone would read, and locks."""
    for path in [*run.glob("maps/*.png"), *run.glob("maps/*.qgz"), run / ".lock", run / ".turn"]:
        path.unlink()
    for name in ("spread", "quality"):
        shutil.rmtree(run / f"maps/soil_moisture_land_{name}.zarr")
    # The stage's marker lists it among its outputs.
    (run / "report.html").write_text("<p>The page was left out of the fixture.</p>\n")


def pack(run: Path) -> None:
    """The run folder as an archive that is the same for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted([run, *run.rglob("*")]):
            info = archive.gettarinfo(path)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime, info.mode = MOMENT, 0o755 if path.is_dir() else 0o644
            with path.open("rb") if path.is_file() else io.BytesIO() as content:
                archive.addfile(info, content)
    Path("run.tar.gz").write_bytes(gzip.compress(raw.getvalue(), mtime=0))


def what_the_run_says() -> dict[str, Any]:
    """Settings, stages and figures of the run folder."""
    loaded = Run(load_config("config.yml"))
    folder = loaded.folder
    card = read_json(folder / "scorecard.json")
    pooled = {name: of["pooled"] for name, of in card["models"].items()}
    with rasterio.open(folder / "maps/soil_moisture_land.tif") as raster:
        tif = {"values": numbers(raster.read(1, masked=True).filled(np.nan)),
               "units": raster.units[0], "transform": list(raster.transform)[:6]}  # fmt: skip
    return {
        "config": loaded.config.model_dump(mode="json"),
        "catalog": {
            name: source.model_dump(mode="json") for name, source in loaded.catalog.sources.items()
        },
        "stages": [n for n, of in stages(folder).items() if of["state"] == "finished"],
        "cube": of_store(folder / "cubes/land.zarr"),
        "predictions": of_store(folder / "predictions/land.zarr"),
        "mosaic": of_store(folder / "mosaics/soil_moisture_land.zarr"),
        "heldout": {
            path.parent.parent.name: of_store(path)
            for path in sorted(folder.glob("finetuned/*/time/heldout.zarr"))
        },
        "fold": {
            where: Fold.load(loaded.fold(where)).to_dict() for where in ("time", "pretrain/time")
        },
        "statistics": Normaliser.from_dict(read_json(loaded.stats("time"))).to_dict(),
        "scorecard": {"ranking": card["ranking"], "sites": card["sites"], "pooled": pooled},
        "comparison": read_json(Path("comparison/comparison.json")),
        "tif": tif,
        "zarr": numbers(open_map_zarr(folder / "maps/soil_moisture_land.zarr").values),
    }


def of_store(path: Path) -> dict[str, Any]:
    """Sizes of a store, and of each variable the valid values' number, their mean, and all values
    (of series those of one day).
    """
    ds = open_cube(path)
    found: dict[str, Any] = {"sizes": {str(dim): size for dim, size in ds.sizes.items()}}
    for name, da in ds.data_vars.items():
        values = da.values.astype(np.float64)
        one_day = da.isel(time=DAY) if "time" in da.dims else da
        found[str(name)] = {
            "dims": list(da.dims), "count": int(np.isfinite(values).sum()),
            "mean": number(np.nanmean(values)), "values": numbers(one_day.values),
        }  # fmt: skip
    return found


def number(value: Any) -> float | None:
    """A plain number; None where it is missing."""
    return float(f"{float(value):.{DIGITS}g}") if np.isfinite(value) else None


def numbers(values: Any) -> Any:
    """Nested lists of plain numbers, None where one is missing."""
    found = np.asarray(values)
    return [numbers(part) for part in found] if found.ndim else number(found)


# The checkpoints


FORCINGS, STATICS, CLASSES = (
    ("precipitation", "air_temperature"),
    ("clay", "elevation"),
    {"cover": 3},
)
LAWS = {"precipitation": "log", "streamflow": "log"}
TARGETS: Mapping[str, tuple[str, ...]] = {
    "regression": ("streamflow",),
    "composition": ("sand", "silt", "clay_share"),
    "probability": ("landslide",),
}
PLAIN = {
    "forcings": FORCINGS, "statics": STATICS, "categorical": CLASSES, "d_model": 8, "d_embed": 2,
    "d_feedforward": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1, "dropout": 0.0,
    "max_tokens": 20, "static_groups": {"soil": ("clay", "cover")},
}  # fmt: skip
ENCODERS: Mapping[str, dict[str, Any]] = {
    "pretrained": {},
    "pretrained_patches": {
        "tokens": "patch", "patch_length": 4, "patch_stride": 2, "decoder": "transformer",
        "static_tokens": "group", "positions": "rotary", "time_of_year": True,
        "location_encoding": True, "noise_head": True, "norm_first": True, "activation": "gelu",
    },
}  # fmt: skip
FINETUNED: Mapping[str, tuple[str | None, dict[str, Any]]] = {
    "finetuned": ("pretrained", {"adapter": "dual_residual", "unfreeze": 1}),
    "scratch": (None, {"adapter": "none", "decoder": "linear", "head": "point", "loss": "mse"}),
    "quantile": ("pretrained_patches", {"adapter": "gated", "head": "quantile"}),
    "lora": ("pretrained", {"adapter": "lora"}),
    "monte_carlo": ("pretrained", {"adapter": "convolution", "dropout": 0.2, "mc_samples": 3}),
    "composition": ("pretrained", {"adapter": "bottleneck", "task": "composition"}),
    "probability": ("pretrained_patches", {"adapter": "attention", "task": "probability"}),
    "ensemble/member0": ("pretrained", {"adapter": "feed_forward", "seed": 0}),
    "ensemble/member1": ("pretrained", {"adapter": "feed_forward", "seed": 1}),
}
"""Encoder and settings of each finetuned network."""


def cells(task: str) -> CellData:
    """16 sites with 40 days of forcings, statics, a class, and a target of the task."""
    rng = np.random.default_rng(7)
    n, days = 16, 40
    rain = rng.gamma(0.4, 8.0, (n, days)).round(1)
    heat = (10 + 8 * np.sin(np.arange(days) / 12) + rng.normal(0, 2, (n, days))).round(1)
    clay, height = rng.uniform(0, 1, n).round(2), rng.uniform(0, 2000, n).round()
    flow = np.stack([rain[:, max(0, t - 4) : t + 1].mean(1) for t in range(days)], 1)
    flow = (flow * (0.2 + clay[:, None])).round(3)
    flow[rng.random(flow.shape) < 0.05] = np.nan
    rain[1, 5] = heat[2, 7] = np.nan
    height[3] = np.nan
    sand = 0.6 * (1 - clay)
    of_places = {
        "composition": np.stack([sand, 1 - sand - 0.5 * clay, 0.5 * clay], -1),
        "probability": (clay[:, None] > 0.5).astype(float),
    }
    target = of_places[task][:, None].repeat(days, 1) if task in of_places else flow[..., None]
    return CellData(
        forcings=torch.from_numpy(np.stack([rain, heat], -1)).float(),
        statics=torch.from_numpy(np.stack([clay, height], -1)).float(),
        cell=torch.arange(n) + 100,
        lonlat=torch.from_numpy(np.stack([rng.uniform(-180, 180, n), rng.uniform(-60, 80, n)], 1)
                                .round(1)).float(),
        time=np.datetime64("2001-01-01") + np.arange(days),
        forcing_names=FORCINGS,
        static_names=STATICS,
        target=torch.from_numpy(target).float(),
        target_names=TARGETS[task],
        categorical=torch.from_numpy(rng.integers(-1, 3, (n, 1))),
        categorical_names=tuple(CLASSES),
    )  # fmt: skip


def make_checkpoints(folder: Path) -> dict[str, Any]:
    """Train every network for an epoch or two; gives what each says of the input, by kind."""
    data = {task: cells(task) for task in TARGETS}
    ids = data["regression"].cell.numpy()
    fold = Fold("small", "groups", ids[:10], ids[10:13], ids[13:])
    given = data["regression"]
    asked = replace(given.subset(fold.test).during(slice(0, STEPS)), target=None, target_names=())
    folder.mkdir()
    (folder / "input.json").write_text(json.dumps(table_as_json(asked)) + "\n")
    scaler = fit_normaliser(given, given.rows(fold.train), None, dict(LAWS))
    train: dict[str, Any] = {
        "window": WINDOW, "epochs": 2, "batch_size": 5, "optimiser": {"lr": 1e-2},
    }  # fmt: skip
    for kind, variant in ENCODERS.items():
        # A new encoder's outputs are all near 0, where no error shows: it is trained for longer,
        # and without validation, which would choose an early epoch.
        longer = {**train, "epochs": 150, "mask": {"window_min": 2, "window_max": 4}}
        config = PretrainConfig(**longer)
        model = ModelConfig(**{**PLAIN, **variant})
        pretrain(
            given, replace(fold, validation=ids[:0]), model, config, scaler, folder / kind,
            about={"units": {"clay": "1"}},
        )  # fmt: skip
    for kind, (encoder, settings) in FINETUNED.items():
        config = FinetuneConfig(**train, warmup_steps=WARMUP, **settings)
        finetune(
            folder / encoder if encoder else None, data[config.task], fold, config, folder / kind,
            model_config=ModelConfig(**PLAIN), transforms=LAWS,
            normaliser=scaler.selected((*FORCINGS, *STATICS)) if encoder is None else None,
        )  # fmt: skip
    plain = given.selected(FORCINGS, STATICS)
    names: dict[str, Any] = {"forcings": FORCINGS, "statics": STATICS}
    for kind, settings in {
        "lstm": LSTMConfig(**names, hidden=6),
        "patchtst": PatchTSTConfig(**names, window=WINDOW, width=8, patch_length=4, patch_stride=2),
        "lstm_quantile": LSTMConfig(**names, hidden=6, head="quantile"),
    }.items():
        head = {"head": settings.head} if settings.head != "gaussian" else {}
        config = FinetuneConfig(**train, warmup_steps=WARMUP, **head)
        train_baseline(settings, plain, fold, config, folder / kind, normaliser=scaler)
    return {name: say(folder, name, asked) for name in tidy(folder)}


def tidy(folder: Path) -> list[str]:
    """Leave what loading reads, and one card; gives the kinds."""
    for path in folder.rglob("training"):
        shutil.rmtree(path)
    for path in folder.rglob("card.md"):
        if path.parent.name != "finetuned":
            path.unlink()
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def say(folder: Path, kind: str, data: CellData) -> dict[str, Any]:
    """What a checkpoint says of the input: a reconstruction, or a prediction of its members."""
    if kind in ENCODERS:
        return reconstruction(folder / kind, data)
    members = [load_member(path.parent) for path in sorted((folder / kind).rglob("config.json"))]
    return {name: numbers(values) for name, values in predict_cells(members, data).items()}


def reconstruction(folder: Path, data: CellData) -> dict[str, Any]:
    """The first window of the input, rebuilt where a third of the forcings and half of the
    attributes are hidden; and each cell's embedding.
    """
    model, stored = load_checkpoint(folder)
    scaler = stored_normaliser(folder, stored)
    rows = torch.arange(len(data))
    with torch.no_grad():
        batch = Windows(data, scaler, WINDOW).gather(rows, torch.zeros_like(rows))
        shape = (len(data), len(STATICS) + len(CLASSES))
        found = model(
            batch,
            sum(torch.meshgrid(*map(torch.arange, batch.forcings.shape), indexing="ij")) % 3 == 0,
            sum(torch.meshgrid(*map(torch.arange, shape), indexing="ij")) % 2 == 0,
        )
    return {
        "forcings": numbers(found.forcings),
        "statics": numbers(found.statics),
        "categorical": [numbers(scores) for scores in found.categorical],
        "embedding": numbers(embed_cells(model, scaler, data, WINDOW)),
    }


def table_as_json(data: CellData) -> dict[str, Any]:
    """A table of cells as plain values."""
    return {
        "forcings": numbers(data.forcings), "statics": numbers(data.statics),
        "categorical": data.categorical.tolist(), "cell": data.cell.tolist(),
        "lonlat": numbers(data.lonlat), "time": [str(day) for day in data.time],
        "forcing_names": data.forcing_names, "static_names": data.static_names,
        "categorical_names": data.categorical_names,
    }  # fmt: skip


if __name__ == "__main__":
    main()
