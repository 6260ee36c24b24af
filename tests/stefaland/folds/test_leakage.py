"""Every kind of leak is planted once and found: a fold passes without it and fails with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.folds.fold import Fold, Locations, near
from stefaland.folds.leakage import check_fold, check_scaler, check_statistics
from stefaland.folds.split import make_folds
from stefaland.folds.visible import held_out_part
from stefaland.training.finetune import finetune
from stefaland.training.pretrain import pretrain
from tests.stefaland.training.test_pretrain import CONFIG, DATA, FOLD, model_config
from tests.synthetic import daily_cells

AT = Locations(DATA.cell.numpy(), DATA.lonlat.numpy(), DATA.group, DATA.region)
DAILY = daily_cells(40, 200)
DAILY_AT = Locations(DAILY.cell.numpy(), DAILY.lonlat.numpy(), DAILY.group)
WARMUP = 20
PERIODS = {
    "train_period": ("2001-01-01", "2001-03-31"),
    "validation_period": ("2001-04-01", "2001-04-30"),
    "test_period": ("2001-05-21", "2001-07-19"),
}
NAMES = (*DATA.forcing_names, *DATA.static_names, *DATA.target_names)


def later(kind: str) -> Fold:
    return make_folds(kind, DAILY_AT, k=3, warmup_days=WARMUP, **PERIODS)[0]


def test_a_shared_site_is_found() -> None:
    check_fold(FOLD, AT)
    for part in ("train", "validation"):
        leaky = replace(FOLD, **{part: np.append(getattr(FOLD, part), FOLD.test[:2])})
        with pytest.raises(InputError, match=f"{part} and test: found 2 shared cells"):
            check_fold(leaky, AT)


def test_a_site_inside_the_buffer_is_found() -> None:
    fold = make_folds("blocks", AT, k=3, block_deg=30, buffer_km=400)[0]
    check_fold(fold, AT)
    inside = near(AT.lonlat, AT.lonlat[np.isin(AT.cell, fold.test)], 400)
    inside &= np.isin(AT.cell, fold.dropped)
    assert inside.any()
    # Each cell is its own group here, so that only the distance can reveal the leak.
    alone = replace(AT, group=AT.cell)
    leaky = replace(fold, train=np.append(fold.train, AT.cell[inside][:1]))
    with pytest.raises(InputError, match="1 cells within 400 km of a test cell"):
        check_fold(leaky, alone)


def test_a_cell_of_a_tested_source_cell_is_found() -> None:
    tested = np.isin(AT.cell, FOLD.test)
    group = AT.group.copy()
    row = np.flatnonzero(AT.cell == FOLD.train[0])
    group[row] = AT.group[tested][0]
    with pytest.raises(InputError, match="train and test: found 1 shared groups"):
        check_fold(FOLD, replace(AT, group=group))


@pytest.mark.parametrize("kind", ["time", "groups"])
@pytest.mark.parametrize(
    ("part", "period", "message"),
    [
        ("train", ("2001-01-01", "2001-05-21"), "train and test: found days in both"),
        ("validation", ("2001-03-31", "2001-04-30"), "train and validation: found days in both"),
        ("validation", ("2001-04-01", "2001-05-01"), "the test reads from 2001-05-01 on"),
        ("train", ("2001-06-01", "2001-06-02"), "train and test: found days in both"),
        ("test", ("2001-07-19", "2001-05-21"), "a first day before the last"),
    ],
)
def test_a_day_within_a_window_is_found(
    kind: str, part: str, period: tuple[str, str], message: str
) -> None:
    fold = later(kind)
    check_fold(fold, DAILY_AT)
    with pytest.raises(InputError, match=message):
        check_fold(replace(fold, **{f"{part}_period": period}), DAILY_AT)
    # Without its warm-up the test of this fold would touch no validation day.
    if "reads" in message:
        check_fold(replace(fold, validation_period=period, warmup_days=WARMUP - 1), DAILY_AT)


def test_a_prediction_of_the_test_reads_no_day_of_another_part() -> None:
    for kind in ("time", "groups"):
        fold = later(kind)
        held, lead = held_out_part(DAILY, fold, WARMUP)
        days = held.time.astype("datetime64[D]")
        assert str(days[0]) == "2001-05-01"
        assert str(days[lead]) == "2001-05-21"
        assert str(days[-1]) == "2001-07-19"
        assert set(held.cell.tolist()) == set(fold.test.tolist())
        for period in (fold.train_period, fold.validation_period):
            assert not (
                (days >= np.datetime64(period[0])) & (days <= np.datetime64(period[1]))
            ).any()


@pytest.mark.parametrize("leak", ["test cells", "test days"])
def test_statistics_of_the_test_part_are_found(leak: str, tmp_path: Path) -> None:
    data, fold = (DATA, FOLD) if leak == "test cells" else (DAILY, later("time"))
    names = (*data.forcing_names, *data.target_names)
    fitted = fit_normaliser(data, data.rows(fold.train), fold.train_period)
    check_statistics(data, fold, fitted, names)
    if leak == "test cells":
        rows = data.rows(np.union1d(fold.train, fold.test[:4]))
        wrong = fit_normaliser(data, rows, fold.train_period)
    else:
        wrong = fit_normaliser(data, data.rows(fold.train))
    with pytest.raises(InputError, match="those of its training part") as caught:
        check_statistics(data, fold, wrong, names)
    assert len(caught.value.faults) == len(names)
    config = FinetuneConfig(window=12)
    sizes = model_config().model_copy(
        update={"forcings": data.forcing_names, "statics": data.static_names}
    )
    inputs = BaselineInputs(
        data=data, fold=fold, config=config, model_config=sizes, normaliser=wrong, folder=tmp_path
    )
    for name in ("ridge", "gradient_boosting", "lstm", "scratch"):
        with pytest.raises(InputError, match=f"statistics of {data.target_names[0]}"):
            fit_baseline(name, inputs)


def test_pretraining_refuses_what_leaks(tmp_path: Path) -> None:
    fitted = fit_normaliser(DATA, DATA.rows(FOLD.train))
    everything = fit_normaliser(DATA, torch.arange(len(DATA)))
    config = CONFIG.model_copy(update={"epochs": 1})
    with pytest.raises(InputError, match="those of its training part") as caught:
        pretrain(DATA, FOLD, model_config(), config, everything, tmp_path)
    assert len(caught.value.faults) == len(DATA.forcing_names) + len(DATA.static_names)
    leaky = replace(FOLD, validation=np.append(FOLD.validation, FOLD.test))
    with pytest.raises(InputError, match=f"found {len(FOLD.test)} shared cells"):
        pretrain(DATA, leaky, model_config(), config, fitted, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["probability", "composition"])
def test_no_model_of_any_task_trains_on_test_cells(task: str, tmp_path: Path) -> None:
    target = (DATA.target > DATA.target.nanmedian()).float()
    data = replace(DATA, target=target)
    if task == "composition":
        data = replace(data, target=torch.cat([target, 1 - target], -1), target_names=("a", "b"))
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train), names=NAMES[:-1])
    leaky = replace(FOLD, train=np.append(FOLD.train, FOLD.test))
    config = FinetuneConfig(window=12, cyclic=True, epochs=1, batch_size=64, task=task)
    inputs = BaselineInputs(
        data=data,
        fold=leaky,
        config=config,
        model_config=model_config(),
        normaliser=normaliser,
        folder=tmp_path,
    )
    for name in ("climatology", "ridge", "gradient_boosting", "lstm", "patchtst", "scratch"):
        with pytest.raises(InputError, match=f"found {len(FOLD.test)} shared cells"):
            fit_baseline(name, inputs)
    with pytest.raises(InputError, match=f"found {len(FOLD.test)} shared cells"):
        finetune(None, data, leaky, config, tmp_path, model_config=model_config(),
                 normaliser=normaliser)  # fmt: skip


def test_a_scaler_computed_again_is_found(tmp_path: Path) -> None:
    fitted = fit_normaliser(DATA, DATA.rows(FOLD.train))
    config = CONFIG.model_copy(update={"epochs": 1})
    pretrained = pretrain(DATA, FOLD, model_config(), config, fitted, tmp_path / "pretrained")
    settings = FinetuneConfig(window=12, cyclic=True, epochs=1, batch_size=32)
    finetune(pretrained, DATA, FOLD, settings, tmp_path / "same", normaliser=fitted)
    again = fit_normaliser(DATA, torch.arange(len(DATA)))
    again = fitted.selected(DATA.target_names).merged(again)
    with pytest.raises(InputError, match="those the encoder was pretrained with") as caught:
        finetune(pretrained, DATA, FOLD, settings, tmp_path / "again", normaliser=again)
    assert len(caught.value.faults) == len(DATA.forcing_names) + len(DATA.static_names)
    # Statistics of the target alone depend on the fold.
    check_scaler(fitted.selected(DATA.target_names), Normaliser(again.scalings), NAMES)
