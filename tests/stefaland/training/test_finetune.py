from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from stefaland.baselines.climatology import Climatology
from stefaland.baselines.registry import BASELINES, BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig, OptimiserConfig
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.folds.split import Fold, Locations, make_folds
from stefaland.metrics import accumulate, coverage, finish, pool
from stefaland.prediction.ensemble import Ensemble, load
from stefaland.prediction.member import load_member
from stefaland.prediction.predict import predict_cells
from stefaland.training.finetune import finetune
from stefaland.training.pretrain import pretrain
from tests.stefaland.training.test_pretrain import CONFIG, DATA, FOLD, model_config
from tests.synthetic import daily_cells

QUICK = FinetuneConfig(
    window=12, cyclic=True, epochs=2, batch_size=32, seed=3, optimiser=OptimiserConfig(lr=3e-3)
)
LONG = QUICK.model_copy(update={"epochs": 40})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    config = CONFIG.model_copy(update={"epochs": 25, "batch_size": 32})
    folder = tmp_path_factory.mktemp("pretrained")
    return pretrain(DATA, FOLD, model_config(), config, normaliser, folder)


def skill(predicted: dict[str, np.ndarray], data: CellData = DATA, fold: Fold = FOLD) -> float:
    truth = data.subset(fold.test).target[..., 0].numpy()
    pooled = pool(accumulate(truth, predicted["mean"][..., 0]))["all"]
    return float(finish(pooled)["NSE"][0])


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_finetuning_beats_the_mean_on_held_out_cells(pretrained: Path, tmp_path: Path) -> None:
    folder = finetune(pretrained, DATA, FOLD, LONG, tmp_path)
    out = load(folder).predict(DATA.subset(FOLD.test))
    mean = Climatology.fit(DATA, FOLD).predict(DATA.subset(FOLD.test))
    assert skill(out) > 0.8
    assert skill(out) > skill(mean) + 0.5
    truth = DATA.subset(FOLD.test).target.numpy()
    inside = coverage(truth.ravel(), out["mean"].ravel(), out["spread"].ravel())
    assert 0.75 < inside <= 1.0


def test_the_pretrained_scaler_is_reused(pretrained: Path, tmp_path: Path) -> None:
    shifted = replace(DATA, forcings=DATA.forcings * 1.1, statics=DATA.statics + 0.1)
    folder = finetune(pretrained, shifted, FOLD, QUICK, tmp_path)
    ours, theirs = (
        json.loads((f / "data.json").read_text())["normaliser"] for f in (folder, pretrained)
    )
    assert {k: v for k, v in ours.items() if k != "soil_moisture"} == theirs
    target = fit_normaliser(DATA, DATA.rows(FOLD.train)).scalings["soil_moisture"]
    assert ours["soil_moisture"]["mean"] == pytest.approx(target.mean)


def test_two_runs_agree_bit_for_bit(pretrained: Path, tmp_path: Path) -> None:
    one, two = (finetune(pretrained, DATA, FOLD, QUICK, tmp_path / n) for n in "12")
    assert weights(one) == weights(two)
    assert (one / "data.json").read_bytes() == (two / "data.json").read_bytes()


def test_frozen_encoder_stays_and_unfrozen_moves(pretrained: Path, tmp_path: Path) -> None:
    before = load_member(finetune(pretrained, DATA, FOLD, QUICK, tmp_path / "none")).model
    changed = QUICK.model_copy(update={"unfreeze": "all"})
    after = load_member(finetune(pretrained, DATA, FOLD, changed, tmp_path / "all")).model
    start = load_member_encoder(pretrained)
    same = [np.array_equal(before.encoder.state_dict()[k], v) for k, v in start.items()]
    moved = [not np.array_equal(after.encoder.state_dict()[k], v) for k, v in start.items()]
    assert all(same)
    assert any(moved)


def test_a_random_encoder_keeps_its_weights_and_a_new_network_trains_them(tmp_path: Path) -> None:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))

    def moved(**settings: bool) -> bool:
        models = []
        for epochs in (1, 2):
            config = QUICK.model_copy(update={"epochs": epochs, "patience": None})
            folder = tmp_path / f"{settings} {epochs}"
            finetune(
                None, DATA, FOLD, config, folder, model_config=model_config(),
                normaliser=normaliser, **settings,
            )  # fmt: skip
            models.append(load_member(folder).model.encoder.state_dict())
        return any(not np.array_equal(models[0][k], models[1][k]) for k in models[0])

    assert not moved(random_encoder=True)
    assert moved()


def test_layers_of_the_encoder_are_trained_later_and_slower(
    pretrained: Path, tmp_path: Path
) -> None:
    before = load_member_encoder(pretrained)
    recipe = {"unfreeze": "all", "layer_decay": 0.5, "head_first": 0.5, "draw": "targets"}
    recipe |= {"static_noise": 0.1, "steps": 4, "steps_per_epoch": 2}

    def trained(**changes: object) -> dict[str, np.ndarray]:
        config = QUICK.model_copy(update={**recipe, **changes})
        folder = finetune(pretrained, DATA, FOLD, config, tmp_path / str(changes))
        return {k: v.numpy() for k, v in load_member(folder).model.encoder.state_dict().items()}

    # The best epoch may be the first, in which the encoder is not trained: it is compared where
    # the whole training is within that part, and where no part is.
    assert all(np.array_equal(trained(head_first=0.99)[k], v) for k, v in before.items())
    late, early = trained(), trained(head_first=0.0)
    assert any(not np.array_equal(late[k], early[k]) for k in before)
    paces = [
        load_member(tmp_path / "{}").model.pace(name)
        for name in ("head.0.weight", "encoder.encoder.out.weight",
                     "encoder.encoder.stack.layers.0.up.weight", "encoder.tokens.x")
    ]  # fmt: skip
    layers = model_config().n_encoder_layers
    assert [pace.factor for pace in paces] == [1, 0.5, 0.5**layers, 0.5 ** (layers + 1)]
    assert [pace.begin for pace in paces] == [0, 0.5, 0.5, 0.5]


def load_member_encoder(folder: Path) -> dict[str, np.ndarray]:
    from stefaland.checkpoints.checkpoint import load_checkpoint

    return {k: v.numpy() for k, v in load_checkpoint(folder)[0].state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "mse", "head": "point"},
        {"loss": "rmse", "head": "point", "decoder": "linear"},
        {"loss": "nse", "head": "point", "unfreeze": 1},
        {"adapter": "bottleneck", "loss": "beta_gaussian"},
    ],
)
def test_heads_losses_and_adapters(
    pretrained: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = finetune(pretrained, DATA, FOLD, QUICK.model_copy(update=changes), tmp_path)
    out = load(folder).predict(DATA.subset(FOLD.test))
    assert np.isfinite(out["mean"]).all()
    assert np.isnan(out["spread"]).all() == ("head" in changes)


@pytest.mark.parametrize("name", sorted(set(BASELINES.names()) - {"persistence", "hbv"}))
def test_no_baseline_sees_the_test_cells(name: str, tmp_path: Path, pretrained: Path) -> None:
    forcings, target = DATA.forcings.clone(), DATA.target.clone()
    rows = DATA.rows(FOLD.test)
    forcings[rows], target[rows] = 77.0, 9.0
    spoiled = replace(DATA, forcings=forcings, target=target)
    names = (*DATA.forcing_names, *DATA.static_names)
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train), names=names)
    config = QUICK.model_copy(update={"epochs": 1})
    # Cells that are no longer tested may train, which shows that they would change the fit.
    leaky = replace(FOLD, train=np.append(FOLD.train, FOLD.test[:8]), test=FOLD.test[8:])
    outs = [
        fit_baseline(
            name,
            BaselineInputs(
                data=data,
                fold=fold,
                config=config,
                model_config=model_config(),
                normaliser=normaliser,
                folder=tmp_path / str(i),
                encoder=pretrained,
            ),
        ).predict(DATA)["mean"]
        for i, (data, fold) in enumerate(((DATA, FOLD), (spoiled, FOLD), (spoiled, leaky)))
    ]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert np.nanmax(np.abs(outs[2] - outs[0])) > 1e-5


def test_finetuning_does_not_see_the_test_cells(pretrained: Path, tmp_path: Path) -> None:
    target = DATA.target.clone()
    target[DATA.rows(FOLD.test)] = 9.0
    spoiled = replace(DATA, target=target)
    clean, same = (
        finetune(pretrained, d, FOLD, QUICK, tmp_path / n)
        for d, n in ((DATA, "clean"), (spoiled, "spoiled"))
    )
    assert weights(clean) == weights(same)
    leaky = replace(FOLD, train=np.append(FOLD.train, FOLD.test[:8]))
    with pytest.raises(InputError, match="train and test: found 8 shared cells"):
        finetune(pretrained, spoiled, leaky, QUICK, tmp_path / "leak")
    untested = replace(leaky, test=FOLD.test[8:])
    leak = finetune(pretrained, spoiled, untested, QUICK, tmp_path / "leak")
    assert weights(leak) != weights(clean)


DAILY = daily_cells(60, 240)
DAILY_CONFIG = FinetuneConfig(
    window=120, warmup_steps=40, epochs=20, steps_per_epoch=15, batch_size=16, seed=1,
    loss="beta_gaussian", optimiser=OptimiserConfig(lr=5e-3),
)  # fmt: skip


def daily_fold() -> Fold:
    at = Locations(DAILY.cell.numpy(), DAILY.lonlat.numpy(), DAILY.group)
    return make_folds("groups", at, k=3, validation_share=0.2)[1]


def daily_inputs(folder: Path) -> BaselineInputs:
    fold = daily_fold()
    config = model_config().model_copy(
        update={"forcings": DAILY.forcing_names, "statics": DAILY.static_names}
    )
    transforms = {"streamflow": "log"}
    normaliser = fit_normaliser(DAILY, DAILY.rows(fold.train), None, transforms)
    return BaselineInputs(
        data=DAILY,
        fold=fold,
        config=DAILY_CONFIG,
        model_config=config,
        normaliser=normaliser,
        folder=folder,
    )


def test_lstm_learns_the_buckets(tmp_path: Path) -> None:
    inputs = daily_inputs(tmp_path)
    lstm = fit_baseline("lstm", inputs)
    held = DAILY.subset(inputs.fold.test)
    out = lstm.predict(held)
    assert skill(out, DAILY, inputs.fold) > 0.25
    assert skill(out, DAILY, inputs.fold) > skill(
        fit_baseline("climatology", inputs).predict(held), DAILY, inputs.fold
    )
    assert np.isnan(out["mean"][:, :40]).all()
    assert (out["mean"][:, 40:] >= 0).all()
    assert isinstance(lstm, Ensemble)
    again = load(tmp_path).predict(held)
    np.testing.assert_array_equal(out["mean"], again["mean"])


def test_temporal_fold_trains_on_its_period_alone(tmp_path: Path) -> None:
    (fold,) = make_folds(
        "time", Locations(DAILY.cell.numpy(), DAILY.lonlat.numpy()),
        train_period=("2001-01-01", "2001-05-10"), validation_period=("2001-05-11", "2001-07-05"),
        test_period=("2001-07-06", "2001-08-28"),
    )  # fmt: skip
    config = DAILY_CONFIG.model_copy(update={"epochs": 1, "window": 50, "warmup_steps": 5})
    normaliser = fit_normaliser(
        DAILY, DAILY.rows(fold.train), fold.train_period, {"streamflow": "log"}
    )
    inputs = replace(
        daily_inputs(tmp_path / "a"), fold=fold, config=config, normaliser=normaliser
    )  # fmt: skip
    target, forcings = DAILY.target.clone(), DAILY.forcings.clone()
    target[:, 186:], forcings[:, 186:] = 500.0, 500.0
    other = replace(
        inputs, data=replace(DAILY, target=target, forcings=forcings), folder=tmp_path / "b"
    )
    a, b = (fit_baseline("lstm", g).predict(DAILY)["mean"] for g in (inputs, other))
    np.testing.assert_array_equal(a, b)


def test_ensemble_of_folds_predicts_with_flags(pretrained: Path, tmp_path: Path) -> None:
    configs = [QUICK.model_copy(update={"seed": s}) for s in (1, 2)]
    members = [
        load_member(finetune(pretrained, DATA, FOLD, c, tmp_path / str(c.seed))) for c in configs
    ]
    wild = DATA.forcings.clone()
    wild[0] += 1000.0
    out = predict_cells(members, replace(DATA, forcings=wild), batch_size=50)
    assert out["flag"][0] == 1
    train = DATA.rows(FOLD.train)
    assert (out["flag"][train[train > 0]] == 0).all()
    one = predict_cells(members[:1], DATA)
    assert out["mean"].shape == one["mean"].shape == (240, 12, 1)


def test_bad_inputs_are_refused(pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no target"):
        finetune(pretrained, replace(DATA, target=None, target_names=()), FOLD, QUICK, tmp_path)
    with pytest.raises(InputError, match="no valid training value"):
        finetune(pretrained, replace(DATA, target=DATA.target * np.nan), FOLD, QUICK, tmp_path)
    target = DATA.target.clone()
    target[DATA.rows(FOLD.validation)] = np.nan
    with pytest.raises(InputError, match="validation: found no cell with a target"):
        finetune(pretrained, replace(DATA, target=target), FOLD, QUICK, tmp_path)
    other = replace(DATA, static_names=("clay", "wetness"))
    with pytest.raises(InputError, match='Did you mean "wetness"'):
        finetune(pretrained, other, FOLD, QUICK, tmp_path)
    with pytest.raises(InputError, match='Did you mean "lstm"'):
        fit_baseline("lstn", daily_inputs(tmp_path))
    with pytest.raises(InputError, match="model_config"):
        finetune(None, DATA, FOLD, QUICK, tmp_path)
    with pytest.raises(InputError):
        load_member(tmp_path / "nothing")
