"""The comparison with neuralhydrology: its data set, a training by its code, its predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from benchmarks.lstm import in_time, peer_settings, predict_peer, train_peer, write_generic
from stefaland.config import FinetuneConfig
from stefaland.data.example import example_cells
from stefaland.folds.fold import Fold

CELLS = example_cells()
DAYS = tuple(str(day) for day in CELLS.time[[0, 29, 35, 59]].astype("datetime64[D]"))
FOLD = Fold(
    name="a", kind="groups", train=CELLS.cell.numpy()[:6], validation=CELLS.cell.numpy()[6:8],
    test=CELLS.cell.numpy()[8:], train_period=(DAYS[0], DAYS[1]), test_period=(DAYS[2], DAYS[3]),
)  # fmt: skip
CONFIG = FinetuneConfig(window=12, warmup_steps=4, steps=4, steps_per_epoch=2, batch_size=4,
                        lstm={"hidden": 6})  # fmt: skip


def test_of_a_day_in_two_windows_the_one_with_more_history_counts() -> None:
    ends = pd.to_datetime(["2000-01-03", "2000-01-04"])
    windows = xr.DataArray([[1.0, 2.0, 3.0], [20.0, 30.0, 4.0]], {"date": ends,
                           "time_step": [-2, -1, 0]}, ["date", "time_step"])  # fmt: skip
    series = in_time(windows)
    assert series.values.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert str(series["time"].values[0])[:10] == "2000-01-01"


@pytest.mark.slow
@pytest.mark.parametrize("network, weight, shape", [
    ("cudalstm", "lstm.weight_hh_l0", (24, 6)), ("ealstm", "dynamic_gates.weight_hh", (6, 18)),
])  # fmt: skip
def test_it_trains_on_the_fold_and_predicts_each_test_day(
    tmp_path: Path, network: str, weight: str, shape: tuple[int, int]
) -> None:
    pytest.importorskip("neuralhydrology", reason="pip install 'stefaland[peers]'")
    statics = CELLS.statics.clone()
    statics[0, 0] = torch.nan
    data = replace(CELLS, statics=statics)
    write_generic(tmp_path / "data", data, FOLD)
    table = pd.read_csv(tmp_path / "data/attributes/attributes.csv", index_col=0)
    assert table.iloc[0, 0] == pytest.approx(float(statics[1:6, 0].mean()), rel=1e-5)
    folder = tmp_path / "data"
    settings = peer_settings(network, data, FOLD, CONFIG, 6, folder)
    assert settings["predict_last_n"] == 8
    assert len(settings["learning_rate"]) == 3
    made = train_peer(settings)
    weights = torch.load(made / "model_epoch002.pt")
    assert weights[weight].shape == shape
    found = predict_peer(made, data.target_names[0])
    assert found.sizes == {"cell": 4, "time": 25}
    assert str(found["time"].values[0])[:10] == DAYS[2]
    assert np.isfinite(found.values).all()
    assert sorted(found["cell"].values.tolist()) == FOLD.test.tolist()
