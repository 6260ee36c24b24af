"""Baselines without a network are calibrated, kept and predicted like networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import HistGradientBoostingRegressor

from pipeline.core.errors import InputError
from stefaland.baselines.climatology import Climatology
from stefaland.baselines.fitted import FITTED, FittedBaseline, load_fitted, predict_fitted
from stefaland.baselines.persistence import Persistence
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.baselines.trees import BoostedTrees
from stefaland.config import FinetuneConfig, model_preset
from stefaland.data.cell_data import fit_normaliser
from stefaland.folds.fold import Fold
from stefaland.metrics import coverage
from tests.synthetic import daily_cells

DATA = daily_cells(40, 60)
CELLS = DATA.cell.numpy()
FOLD = Fold(name="f", kind="groups", train=CELLS[:16], validation=CELLS[16:28], test=CELLS[28:])


def inputs(folder: Path, fold: Fold = FOLD, **settings: object) -> BaselineInputs:
    return BaselineInputs(
        data=DATA, fold=fold, config=FinetuneConfig(window=20, **settings), folder=folder,
        model_config=model_preset("stefaland-tiny", forcings=DATA.forcing_names,
                                  statics=DATA.static_names, d_model=8, n_heads=2),
        normaliser=fit_normaliser(DATA, DATA.rows(fold.train)),
    )  # fmt: skip


def test_trees_as_arrays_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5))
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) ** 2 + np.nan_to_num(x[:, 1]) * 3
    fitted = HistGradientBoostingRegressor(max_iter=20).fit(x, y)
    trees = BoostedTrees.of(fitted)
    unseen = rng.normal(size=(9000, 5))
    unseen[rng.random(unseen.shape) < 0.2] = np.nan
    np.testing.assert_array_equal(trees.predict(unseen), fitted.predict(unseen))
    with pytest.raises(InputError, match="4 features"):
        trees.predict(unseen[:, :4])
    endless = {**trees.arrays(), "right": np.zeros_like(trees.right)}
    with pytest.raises(InputError, match="wrong nodes"):
        BoostedTrees.from_arrays(endless, "trees")


@pytest.mark.parametrize(
    "kind", ["ridge", "gradient_boosting", "climatology", "gradient_boosting_random_embedding"]
)
def test_a_kept_baseline_predicts_the_same_and_maps_its_cells(kind: str, tmp_path: Path) -> None:
    given = inputs(tmp_path, warmup_steps=4)
    fitted = FittedBaseline.of(fit_baseline(kind, given), given)
    assert fitted.save(tmp_path)
    again = load_fitted(tmp_path)
    test = DATA.subset(FOLD.test)
    before, after = fitted.predict(test), again.predict(test)
    for name in ("mean", "spread"):
        np.testing.assert_array_equal(before[name], after[name])
    # 90 % of the errors at validation cells lie within the interval of the calibrated spread.
    held = DATA.subset(FOLD.validation)
    found = fitted.predict(held)
    inside = coverage(held.target.numpy().ravel(), found["mean"].ravel(), found["spread"].ravel())
    assert inside == pytest.approx(0.9, abs=0.01)

    sea = torch.zeros(len(test), dtype=torch.bool)
    sea[0] = True
    reordered = replace(
        test, forcings=test.forcings.flip(-1), forcing_names=test.forcing_names[::-1]
    )
    ((key, mapped),) = predict_fitted([again, again], [("tile", reordered, sea)])
    assert key == "tile"
    assert mapped["flag"].tolist()[0] == 3
    assert np.isnan(mapped["mean"][0]).all()
    assert np.isnan(mapped["mean"][:, :4]).all()
    np.testing.assert_allclose(mapped["mean"][1:, 4:], before["mean"][1:, 4:], rtol=1e-6)
    np.testing.assert_allclose(mapped["spread"][1:, 4:], before["spread"][1:, 4:], rtol=1e-5)


def test_what_cannot_be_mapped_is_not_kept(tmp_path: Path) -> None:
    periods = {
        "train_period": ("2001-01-01", "2001-01-31"), "test_period": ("2001-02-15", "2001-03-01"),
    }  # fmt: skip
    fold = Fold(name="time", kind="time", train=CELLS, validation=CELLS[:0], test=CELLS, **periods)
    given = inputs(tmp_path, fold)
    for predictor in (Persistence.fit(DATA, fold), Climatology.fit(DATA, fold)):
        assert not FittedBaseline.of(predictor, given).save(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_fitted(tmp_path)


def test_a_damaged_baseline_is_one_error(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    FittedBaseline.of(fit_baseline("ridge", given), given).save(tmp_path)
    content = (tmp_path / FITTED).read_bytes()
    arrays = load_file(tmp_path / FITTED)
    (tmp_path / FITTED).write_bytes(content[:200])
    with pytest.raises(InputError, match="a fitted baseline"):
        load_fitted(tmp_path)
    save_file(arrays, tmp_path / FITTED, {"about": '{"format": 1}'})
    with pytest.raises(InputError, match="kind"):
        load_fitted(tmp_path)
