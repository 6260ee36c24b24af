from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import InputError
from stefaland.checkpoints.checkpoint import load_checkpoint
from stefaland.config import (
    FinetuneConfig,
    MaskConfig,
    ModelConfig,
    OptimiserConfig,
    PretrainConfig,
    model_preset,
)
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw
from stefaland.data.windows import Windows
from stefaland.folds.split import Fold, Locations, make_folds
from stefaland.training.finetune import finetune
from stefaland.training.pretrain import pretrain
from stefaland.training.recipe import training_sampler, validation_rows
from stefaland.training.signals import Interrupted
from tests.stefaland.test_distributed import run_ranks
from tests.synthetic import monthly_cells

DATA = monthly_cells(240)
FOLD = make_folds(
    "groups", Locations(DATA.cell.numpy(), DATA.lonlat.numpy(), DATA.group), k=3,
    validation_share=0.2,
)[0]  # fmt: skip
CONFIG = PretrainConfig(
    window=12, cyclic=True, epochs=2, batch_size=64, seed=3,
    mask=MaskConfig(window_min=2, window_max=5), optimiser=OptimiserConfig(lr=3e-3),
)  # fmt: skip


def model_config(**settings: object) -> ModelConfig:
    small = {"d_model": 32, "d_embed": 8, "d_feedforward": 64, "n_heads": 2}
    return model_preset(
        "stefaland-tiny", forcings=DATA.forcing_names, statics=DATA.static_names,
        **{**small, **settings},
    )  # fmt: skip


def run(
    folder: Path, data: CellData = DATA, fold: Fold = FOLD, config: PretrainConfig = CONFIG,
    **settings: object,
) -> Path:  # fmt: skip
    normaliser = fit_normaliser(data, data.rows(fold.train))
    return pretrain(data, fold, model_config(**settings), config, normaliser, folder)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_pretraining_reconstructs_far_better_than_the_mean(tmp_path: Path) -> None:
    # Forcing skill over seeds 3 to 5: 0.47 to 0.73 after 60 epochs, 0.69 to 0.76 after 90.
    config = CONFIG.model_copy(update={"epochs": 90, "batch_size": 32})
    folder = run(tmp_path, config=config)
    best = json.loads((folder / "data.json").read_text())["training"]["best"]
    assert best["validation_forcing_skill"] > 0.6
    assert best["validation_static_skill"] > 0.2


def test_checkpoint_holds_the_scaler_of_the_inputs_and_no_target(tmp_path: Path) -> None:
    folder = run(tmp_path)
    stored = json.loads((folder / "data.json").read_text())
    assert sorted(stored["normaliser"]) == sorted((*DATA.forcing_names, *DATA.static_names))
    model, data = load_checkpoint(folder)
    assert Normaliser.from_dict(data["normaliser"]).scalings["clay"].std > 0
    assert model.config == model_config()


class Killing(Windows):
    at = -1
    count = 0

    def batches(self, draws: list[Draw]) -> Iterator[Batch]:
        for batch in super().batches(draws):
            if Killing.count == Killing.at:
                os.kill(os.getpid(), signal.SIGUSR1)
            Killing.count += 1
            yield batch


@pytest.mark.parametrize("at", [0, 3])
def test_killed_and_resumed_writes_the_same_bytes(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("stefaland.training.recipe.training_windows", Killing)
        Killing.at, Killing.count = at, 0
        with pytest.raises(Interrupted):
            run(tmp_path / "cut")
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    cut = run(tmp_path / "cut")
    assert weights(whole) == weights(cut)
    assert (whole / "data.json").read_bytes() == (cut / "data.json").read_bytes()


def long_run(folder: Path) -> None:
    torch.set_num_threads(1)
    run(folder, config=CONFIG.model_copy(update={"epochs": 40, "batch_size": 32}))


@pytest.mark.slow
def test_killed_without_warning_three_times_writes_the_same_bytes(tmp_path: Path) -> None:
    long_run(tmp_path / "whole")
    cut = tmp_path / "cut"
    state = cut / "training" / "state.safetensors"
    for epochs in (3, 9, 15):
        process = torch.multiprocessing.get_context("spawn").Process(target=long_run, args=(cut,))
        process.start()
        seen: set[int] = set()
        while len(seen) < epochs and process.is_alive():
            if state.is_file():
                seen.add(state.stat().st_mtime_ns)
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    long_run(cut)
    assert weights(cut) == weights(tmp_path / "whole")


def test_one_cell_of_a_group_an_epoch(tmp_path: Path) -> None:
    rows = torch.arange(40)
    config = CONFIG.model_copy(update={"one_per_group": True, "batch_size": 4})
    assert validation_rows(DATA, rows, config).tolist() == list(range(0, 40, 4))
    assert len(training_sampler(DATA, rows, (0, 12), config).epoch(0)) == 3
    plain = CONFIG.model_copy(update={"batch_size": 4})
    assert len(training_sampler(DATA, rows, (0, 12), plain).epoch(0)) == 10
    assert validation_rows(DATA, rows, plain) is rows


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bfloat16"},
        pytest.param(
            {"accumulate": 2, "batch_size": 8, "steps_per_epoch": 120}, marks=pytest.mark.slow
        ),
    ],
)
def test_options_of_training(tmp_path: Path, settings: dict[str, object]) -> None:
    optimiser = OptimiserConfig(lr=3e-3, ema_decay=0.9)
    longer = {"epochs": 4, "steps_per_epoch": 60, "batch_size": 16, "optimiser": optimiser}
    folder = run(tmp_path, config=CONFIG.model_copy(update={**longer, **settings}))
    best = json.loads((folder / "data.json").read_text())["training"]["best"]
    assert best["validation_forcing_skill"] > 0.05


@pytest.mark.slow
def test_compiled_training_equals_eager_within_rounding(tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        config = CONFIG.model_copy(update={"compile": compiled})
        folder = run(tmp_path / str(compiled), config=config, dropout=0.0)
        best = json.loads((folder / "data.json").read_text())["training"]["best"]
        losses.append(best["validation_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_two_runs_agree_bit_for_bit_and_seeds_differ(tmp_path: Path) -> None:
    one, two = run(tmp_path / "1"), run(tmp_path / "2")
    other = run(tmp_path / "3", config=CONFIG.model_copy(update={"seed": 4}))
    assert weights(one) == weights(two) != weights(other)


def test_test_cells_are_not_read_and_a_planted_leak_is_found(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean")
    forcings = DATA.forcings.clone()
    forcings[DATA.rows(FOLD.test)] = 77.0
    spoiled = replace(DATA, forcings=forcings)
    assert weights(run(tmp_path / "spoiled", data=spoiled)) == weights(clean)
    leaky = replace(FOLD, train=np.append(FOLD.train, FOLD.test[:8]))
    with pytest.raises(InputError, match="train and test: found 8 shared cells"):
        run(tmp_path / "leak", data=spoiled, fold=leaky)
    untested = replace(leaky, test=FOLD.test[8:])
    assert weights(run(tmp_path / "leak", data=spoiled, fold=untested)) != weights(clean)


def test_missing_values_train_without_nan(tmp_path: Path) -> None:
    forcings, statics = DATA.forcings.clone(), DATA.statics.clone()
    holes = torch.rand(forcings.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    forcings[holes] = torch.nan
    statics[::7, 0] = torch.nan
    folder = run(tmp_path, data=replace(DATA, forcings=forcings, statics=statics))
    best = json.loads((folder / "data.json").read_text())["training"]["best"]
    assert all(np.isfinite(v) for v in best.values())


def test_bad_inputs_are_refused_before_training(tmp_path: Path) -> None:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    wrong = model_config().model_copy(update={"forcings": ("precipitatoin", "wind")})
    empty = replace(FOLD, train=FOLD.train[:0])
    long = CONFIG.model_copy(update={"window": 13})
    with pytest.raises(InputError) as caught:
        pretrain(DATA, FOLD, wrong, CONFIG, normaliser, tmp_path)
    assert len(caught.value.faults) == 2
    with pytest.raises(InputError, match="no training statistics"):
        pretrain(DATA, FOLD, model_config(), CONFIG, Normaliser({}), tmp_path)
    with pytest.raises(InputError, match="no locations"):
        pretrain(DATA, empty, model_config(), CONFIG, normaliser, tmp_path)
    with pytest.raises(InputError, match="at most the 12"):
        pretrain(DATA, FOLD, model_config(), long, normaliser, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def gappy() -> CellData:
    """A third of the cells miss nearly all values, so that parts of batches differ."""
    poor = torch.arange(len(DATA)) % 3 == 0
    lost = torch.rand(DATA.forcings.shape, generator=torch.Generator().manual_seed(7)) < 0.9
    nan = torch.tensor(torch.nan)
    return replace(
        DATA,
        forcings=torch.where(poor[:, None, None] & lost, nan, DATA.forcings),
        statics=torch.where(poor[:, None] & lost[:, 0, : DATA.statics.shape[1]], nan, DATA.statics),
        target=torch.where(poor[:, None, None] & lost[..., :1], nan, DATA.target),
    )


def pretrain_gappy(folder: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 63})
    run(folder, gappy(), config=config, dropout=0.0)


def finetune_gappy(folder: Path) -> None:
    """Finetune with the RMSE, which is no mean over samples, and gradients of two batches."""
    config = FinetuneConfig(
        window=12, cyclic=True, epochs=2, batch_size=33, seed=3, loss="rmse", accumulate=2,
        adapter="lora", optimiser=OptimiserConfig(lr=3e-3),
    )  # fmt: skip
    data = gappy()
    finetune(
        None, data, FOLD, config, folder, model_config=model_config(dropout=0.0),
        normaliser=fit_normaliser(data, data.rows(FOLD.train)),
    )  # fmt: skip


@pytest.mark.parametrize("work", [pretrain_gappy, finetune_gappy])
def test_two_ranks_train_as_one_process_with_missing_values(
    work: Callable[[Path], None], tmp_path: Path
) -> None:
    work(tmp_path / "one")
    run_ranks(work, tmp_path / "two")
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    best = [
        json.loads((tmp_path / n / "data.json").read_text())["training"] for n in ("one", "two")
    ]
    assert best[0]["best"] == pytest.approx(best[1]["best"], rel=1e-4)
