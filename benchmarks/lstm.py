"""Our LSTM beside those of neuralhydrology: CudaLSTM and EA-LSTM on the same folds and inputs.

`python -m benchmarks.lstm CONFIG --folds group0 --seeds 0,1,2 --set …` needs a sweep of the same
config, folds and seeds (`stefaland sweep CONFIG --models lstm,… --folds … --seeds …`). It writes
the cells of each fold in the layout of neuralhydrology's generic data set, trains there by its own
code with the settings of `finetune` (window, warm-up, batch, steps, learning rate, hidden size,
dropout, forget bias), reads its test predictions, and scores all models by our scores on the same
days. The loss is its NSE loss on the streamflow itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from rich.console import Console

from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.folds.fold import Fold
from stefaland.training.optimiser import learning_rate
from workflows.commands.sweep import (
    Item,
    items,
    score_table,
    sweep_folder,
    variant_scores,
    variant_tables,
)
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages.unpack import labelled_cells

NETWORKS = ("cudalstm", "ealstm")
PARTS = ("train", "validation", "test")


def write_generic(folder: Path, data: CellData, fold: Fold) -> None:
    """Write the cells of a fold as a generic data set: series, attributes and lists of basins.

    A missing attribute is the mean of the training cells, which is what it is to our networks.
    """
    assert data.target is not None
    (folder / "time_series").mkdir(parents=True)
    (folder / "attributes").mkdir()
    for part in PARTS:
        basins = "".join(f"{cell}\n" for cell in getattr(fold, part))
        (folder / f"{part}.txt").write_text(basins)
    used = data.subset(np.concatenate([getattr(fold, part) for part in PARTS]))
    assert used.target is not None
    names = (*used.forcing_names, *used.target_names)
    values = torch.cat([used.forcings, used.target], -1).numpy()
    date = pd.DatetimeIndex(used.time, name="date")
    for cell, series in zip(used.cell.tolist(), values, strict=True):
        table = {name: ("date", series[:, i]) for i, name in enumerate(names)}
        path = folder / "time_series" / f"{cell}.nc"
        xr.Dataset(table, {"date": date}).to_netcdf(path, engine="netcdf4")
    basin = pd.Index(map(str, used.cell.tolist()), name="basin")
    statics = pd.DataFrame(used.statics.numpy(), basin, list(used.static_names))
    train = statics.loc[[str(cell) for cell in fold.train]]
    statics.fillna(train.mean()).to_csv(folder / "attributes" / "attributes.csv")


def peer_settings(
    network: str, data: CellData, fold: Fold, config: FinetuneConfig, hidden: int, folder: Path
) -> dict[str, Any]:
    """The settings of a neuralhydrology run that trains as `config` says, on the same days."""
    assert config.steps is not None
    assert config.steps_per_epoch is not None
    assert fold.train_period is not None
    assert fold.test_period is not None
    dropout = 0.4 if config.baseline_dropout is None else config.baseline_dropout
    epochs = -(-config.steps // config.steps_per_epoch)
    middle = config.steps_per_epoch // 2
    total = epochs * config.steps_per_epoch
    rates = {
        epoch: learning_rate(epoch * config.steps_per_epoch + middle, total, config.optimiser)
        for epoch in range(epochs)
    }
    # Its period is that of the targets, and it reads the days before; ours has both in one.
    first = pd.Timestamp(fold.train_period[0]) + pd.Timedelta(days=config.warmup_steps)
    days = {"train": (first, fold.train_period[1]), "test": fold.test_period}
    dates = {
        f"{part}_{end}_date": pd.Timestamp(day).strftime("%d/%m/%Y")
        for part, period in {**days, "validation": days["train"]}.items()
        for end, day in zip(("start", "end"), period, strict=True)
    }
    return {
        "experiment_name": network, "run_dir": str(folder / "runs"), **dates,
        **{f"{part}_basin_file": str(folder / f"{part}.txt") for part in PARTS},
        "dataset": "generic", "data_dir": str(folder), "device": "cpu", "num_workers": 0,
        "dynamic_inputs": list(data.forcing_names), "static_attributes": list(data.static_names),
        "target_variables": list(data.target_names), "metrics": ["NSE"], "verbose": 0,
        "model": network, "head": "regression", "output_activation": "linear", "loss": "NSE",
        "hidden_size": hidden, "output_dropout": dropout,
        "initial_forget_bias": config.lstm.forget_bias, "optimizer": "Adam",
        "learning_rate": {0: rates[0], **{epoch + 1: rate for epoch, rate in rates.items()}},
        "clip_gradient_norm": config.optimiser.clip_norm, "batch_size": config.batch_size,
        "epochs": epochs, "max_updates_per_epoch": config.steps_per_epoch,
        "seq_length": config.window, "predict_last_n": config.window - config.warmup_steps,
        "save_weights_every": epochs, "log_interval": 1000, "log_tensorboard": False,
        "log_n_figures": 0,
        "seed": config.seed,
    }  # fmt: skip


def train_peer(settings: Mapping[str, Any]) -> Path:
    """Train by neuralhydrology's own code; returns the folder of its run."""
    from neuralhydrology.training.train import start_training
    from neuralhydrology.utils.config import Config

    config = Config(dict(settings))
    start_training(config)
    return Path(config.run_dir)


def predict_peer(run: Path, target: str) -> xr.DataArray:
    """The test predictions of a neuralhydrology run, dims (cell, time), by its own code.

    Its windows follow each other, so that a day has as much history as in our predictions; by
    default it would read a whole window for each day.
    """
    from neuralhydrology.evaluation import get_tester
    from neuralhydrology.utils.config import Config

    config = Config(run / "config.yml")
    tester = get_tester(cfg=config, run_dir=run, period="test", init_model=True)
    whole, step = tester._get_dataset, config.predict_last_n

    def thinned(basin: str) -> Any:
        windows = whole(basin)
        last = len(windows) - 1
        chosen = sorted({*range(0, last, step), last})
        windows.lookup_table = {i: windows.lookup_table[k] for i, k in enumerate(chosen)}
        windows.num_samples = len(chosen)
        return windows

    tester._get_dataset = thinned
    series = {}
    for basin in list(tester.basins):
        tester.basins = [basin]
        found = tester.evaluate(save_results=False)[basin]["1D"]["xr"][f"{target}_sim"]
        series[int(basin)] = in_time(found.dropna("date", how="all"))
    return xr.concat(series.values(), pd.Index(series, name="cell"), join="outer")


def in_time(windows: xr.DataArray) -> xr.DataArray:
    """Predictions by the last date of a window and the step before it, as one series."""
    last = windows["date"].values[:, None]
    days = last + windows["time_step"].values.astype("timedelta64[D]")
    # Of a day in two windows, the one with the longer history is kept.
    series = pd.Series(windows.values.ravel(), days.ravel())
    series = series[~series.index.duplicated(keep="first")].sort_index()
    return xr.DataArray(series.values, {"time": series.index.values}, ["time"])


@dataclass(frozen=True)
class Peer:
    """The trainings of one run's folds by neuralhydrology."""

    run: Run
    folder: Path
    data: CellData
    """The cells with their target."""

    def predictions(self, network: str, fold: Fold, seed: int) -> xr.DataArray:
        """Test predictions of a network, trained where they are not kept from an earlier call."""
        of_fold = self.folder / fold.name
        kept = of_fold / f"{network}-seed{seed}.nc"
        if not kept.exists():
            if not (of_fold / "attributes").exists():
                write_generic(of_fold, self.data, fold)
            config = self.run.config.finetune.recipe(seed, "lstm", fold.name)
            hidden = config.lstm.hidden or self.run.config.model.settings.get("d_model", 64)
            begun = time.process_time()
            made = train_peer(peer_settings(network, self.data, fold, config, hidden, of_fold))
            trained = time.process_time()
            predict_peer(made, self.data.target_names[0]).to_netcdf(kept)
            seconds = {"train": trained - begun, "predict": time.process_time() - trained}
            kept.with_suffix(".json").write_text(json.dumps(seconds))
        return xr.load_dataarray(kept)


def peer_table(like: xr.Dataset, predictions: Mapping[str, Sequence[xr.DataArray]]) -> xr.Dataset:
    """Predictions by seed, one array for each fold, as the table of a variant of the sweep."""
    parts = {seed: xr.concat(folds, "cell") for seed, folds in predictions.items()}
    predicted = xr.concat(parts.values(), pd.Index(parts, name="model")).rename(cell="site")
    predicted = predicted.reindex(site=like["site"].values, time=like["time"].values)
    return like[["observed"]].assign(predicted=predicted.transpose("model", "site", "time"))


def tables(run: Run, peer: Peer, todo: Sequence[Item], networks: Sequence[str]) -> dict[str, Any]:
    """The held-out series of our variants and of the networks of neuralhydrology."""
    cells = labelled_cells(run)
    ours = variant_tables(cells, run.config.inputs.targets, True, todo, sweep_folder(run))
    like, files = next(iter(ours.values())), FoldFiles(run.folder)
    folds = dict.fromkeys(item.fold for item in todo)
    found = dict(ours)
    for network in networks:
        by_seed = {
            str(seed): [peer.predictions(network, files.fold(fold), seed) for fold in folds]
            for seed in dict.fromkeys(item.seed for item in todo)
        }
        found[f"neuralhydrology {network}"] = peer_table(like, by_seed)
    return found


def show(found: Mapping[str, xr.Dataset], seed: int) -> None:
    """Print median NSE and KGE of each seed, and paired differences from the first model."""
    for metric in ("NSE", "KGE"):
        scores = variant_scores(found, "regression", metric, seed)
        Console(width=140).print(score_table(scores, "", what="model"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--folds", default="")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", default="lstm", help="models of the sweep, the first is ours")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(load_config(options.config, options.settings))
    files = FoldFiles(run.folder)
    folds = options.folds.split(",") if options.folds else files.names()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    todo = items(folds, options.models.split(","), [run.config.finetune.adapter], seeds)
    data = cell_data(labelled_cells(run), run.config.inputs)
    peer = Peer(run, run.folder / "neuralhydrology" / sweep_folder(run).name, data)
    networks = [name for name in options.networks.split(",") if name]
    show(tables(run, peer, todo, networks), run.config.seed)


if __name__ == "__main__":
    main()
