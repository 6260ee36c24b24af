"""Several targets of one run: sites with some of them only, scores, maps and refusals of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from stefaland.baselines.fitted import load_fitted
from stefaland.prediction.ensemble import load
from stefaland.prediction.stack import load_stack
from tests.stored import DAYS, run_of, write_sites_store
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data, open_cells
from workflows.inputs.folds import FoldFiles
from workflows.products.target_scores import divided
from workflows.run import Run
from workflows.stages import check, finetune, pretrain, score, stats
from workflows.stages.order import run_stages
from workflows.stages.publish import verify_published
from workflows.stages.unpack import labelled_cells

BASINS = 36
RNG = np.random.default_rng(4)
LONLAT = RNG.uniform((-78, 38), (-72, 43), (BASINS, 2))
FLOW = RNG.gamma(1.0, 3.0, (DAYS.size, BASINS))
WATER = np.where(np.arange(BASINS) % 3 == 0, np.nan, RNG.uniform(0.1, 0.4, FLOW.shape))
FLOW[:, 1::3] = np.nan
SETTINGS = ("inputs.forcings=[precipitation, air_temperature_max]", "pretrain.window=10",
            "finetune.window=10", "finetune.warmup_steps=2", "pretrain.cube=basins",
            "finetune.baselines=[climatology, ridge]", "finetune.stack=[stefaland, ridge]",
            "model.settings={d_model: 8, d_embed: 8, d_feedforward: 8, n_heads: 2}")  # fmt: skip
BOTH = "inputs.target=[streamflow, soil_moisture]"


def scored(folder: Path, *settings: str, **targets: np.ndarray) -> Run:
    run = run_of("delaware", folder, *SETTINGS, *settings)
    write_sites_store(run, "basins", LONLAT, targets)
    for stage in (stats, pretrain, finetune, score):
        stage.main(run)
    return run


def test_each_target_has_its_sites_statistics_and_scores(tmp_path: Path) -> None:
    run = scored(tmp_path / "both", BOTH, streamflow=FLOW, soil_moisture=WATER)
    card = json.loads(run.scorecard.read_text())
    of_targets = card["targets"]
    assert {name: one["units"] for name, one in of_targets.items()} == {
        "streamflow": "mm/day", "soil_moisture": "m3 m-3",
    }  # fmt: skip
    assert [one["sites"] for one in of_targets.values()] == [BASINS * 2 // 3] * 2
    assert {*card["ranking_of_targets"]} == {"stefaland", "climatology", "ridge", "stack"}
    assert card["ranking"] == of_targets["streamflow"]["ranking"]
    # Targets in units as different as these are both predicted near their observations.
    for name, values in (("streamflow", FLOW), ("soil_moisture", WATER)):
        for model in card["ranking"]:
            assert of_targets[name]["models"][model]["pooled"]["RMSE"] < 3 * np.nanstd(values)
    tables = divided(xr.open_zarr(run.heldout, consolidated=False), run.config.inputs.targets)
    water = tables["soil_moisture"].sel(site=np.arange(BASINS))
    np.testing.assert_allclose(water["observed"], WATER.T, rtol=1e-6)
    known = np.isfinite(water["observed"].values[:, 2:])
    assert (np.isfinite(water["predicted"].sel(model="stack").values[:, 2:]) == known).all()
    # A target is scaled by its own training values, at the cells that have it.
    fold = FoldFiles(run.folder).fold("group0")
    scaling = FoldFiles(run.folder).normaliser("group0").scalings["soil_moisture"]
    np.testing.assert_allclose(scaling.mean, np.nanmean(WATER[:, fold.train]), rtol=1e-5)
    # The stack has a spread of each target, with one factor for each.
    stack = load_stack(run.finetuned("stack", "group0"))
    assert stack.calibration.spread_factor is not None
    assert len(stack.calibration.spread_factor) == 2


def test_a_target_is_left_out_where_it_alone_has_too_few_values(tmp_path: Path) -> None:
    early, late = slice(0, 40), slice(42, DAYS.size)
    water = RNG.uniform(0.1, 0.4, FLOW.shape)
    water[:36, ::2] = np.nan
    # The few values of the training days are such that statistics would show them.
    water[36:40, ::2] = 50.0
    flow = np.where(np.arange(BASINS) % 5 == 0, np.nan, 2.0)[None].repeat(DAYS.size, 0)
    flow[:, 1] = RNG.random(DAYS.size)
    days = ("folds.train_period=[1979-01-01, 1979-02-09]",
            "folds.test_period=[1979-02-12, 1979-03-01]")  # fmt: skip
    run = run_of("delaware", tmp_path, *SETTINGS, BOTH, "folds.min_observed=0.2", *days)
    write_sites_store(run, "basins", LONLAT, {"streamflow": flow, "soil_moisture": water})
    stats.main(run)
    seen = labelled_cells(run)
    known = seen["soil_moisture"].transpose("time", "cell").values
    assert np.isnan(known[early, ::2]).all()
    np.testing.assert_allclose(known[late], water[late], rtol=1e-6)
    np.testing.assert_allclose(known[early, 1::2], water[early, 1::2], rtol=1e-6)
    files = FoldFiles(run.folder)
    folds = [files.fold(name) for name in files.names()]
    # Basins that lack both targets in training still are tested with one of them.
    assert not any(np.isin([0, 10, 20, 30], fold.train).any() for fold in folds)
    assert {0, 10, 20, 30} <= {int(cell) for fold in folds for cell in fold.test}
    for name in files.names():
        assert 0.1 < files.normaliser(name).scalings["soil_moisture"].mean < 0.4


def test_targets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    for settings, message in (
        (["inputs.target=[soil_moisture, soil_moisture]"], "each target once"),
        ([BOTH, "publish.of_target={streamfow: {legend: a, spread_legend: b}}"],
         'Did you mean "streamflow"'),
        ([BOTH, "finetune.task=probability"], "several targets, but finetune.task: probability"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            load_config(config, settings)
    swapped = "inputs.target=[soil_moisture, streamflow]"
    with pytest.raises(InputError) as caught:
        check.main(Run(load_config(config, [swapped, "finetune.baselines=[hbv]"])))
    assert "inputs.target.1" in str(caught.value)
    assert "streamflow (mm/day) alone" in str(caught.value)
    run = run_of("delaware", tmp_path, *SETTINGS, BOTH)
    write_sites_store(
        run, "basins", LONLAT, {"streamflow": FLOW, "soil_moisture": np.full_like(FLOW, np.nan)}
    )
    with pytest.raises(InputError, match="no cell with soil_moisture"):
        stats.main(run)


@pytest.mark.slow
def test_maps_of_each_target_have_their_legends_and_are_those_of_the_model(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    rain = xr.open_dataset(tmp_path / "rain.nc", decode_times=False)["rain"]
    flow = (30.0 + 3.0 * rain).where(rain > 1.0).astype("float32")
    flow.rename("flow").assign_attrs(units="mm/day").to_netcdf(tmp_path / "flow.nc")
    catalog = tmp_path / "catalog.yml"
    catalog.write_text(catalog.read_text() + "flow:\n  uri: ${data}/flow.nc\n  driver: netcdf\n"
                       "  time: {kind: months}\n  method: nearest\n"
                       "  variables: {streamflow: {name: flow, units: mm/day}}\n")  # fmt: skip
    settings = [
        "inputs.sources=[rain, moisture, height, flow]",
        "inputs.target=[soil_moisture, streamflow]", "finetune.head=quantile",
        "publish.products=[{cube: globe, suffix: globe}]", "publish.legend=soil_moisture",
        "publish.spread_legend=soil_moisture_spread", "model.settings={d_model: 8}",
        "publish.of_target={streamflow: {legend: streamflow, spread_legend: streamflow_spread}}",
        "finetune.baselines=[ridge, gradient_boosting]", "predict.model=both",
        "finetune.stack={both: [stefaland, ridge]}", "finetune.ensemble=2",
    ]  # fmt: skip
    run = Run(load_config(config, settings))
    run_stages(run, "check", "report")
    assert verify_published(run) == 5
    styles = [(run.maps / f"{name}_globe.qml").read_text()
              for name in ("soil_moisture", "streamflow")]  # fmt: skip
    assert styles[0] != styles[1]
    maps = open_cube(run.prediction("globe"))
    assert float(maps["streamflow"].mean()) > 20 > 1 > float(maps["soil_moisture"].mean())
    data = cell_data(open_cells(run.cube("globe"), run.config.inputs), run.config.inputs)
    means = []
    for fold in ("block0", "block1"):
        weights = load_stack(run.finetuned("both", fold)).weights
        models = load(run.finetuned("stefaland", fold)), load_fitted(run.finetuned("ridge", fold))
        means.append(np.tensordot(weights, [one.predict(data)["mean"] for one in models], 1))
    rows, columns = np.divmod(data.cell.numpy(), maps.sizes["x"])
    for i, name in enumerate(run.config.inputs.targets):
        np.testing.assert_allclose(
            maps[name].values[:, rows, columns].T, np.mean(means, 0)[..., i], rtol=1e-4, atol=1e-5
        )
    page = (run.folder / "report.html").read_text()
    assert "Scores at held-out locations: streamflow" in page
    assert "By their mean rank over the 2 targets" in page
    words = [f"{run.folder}:{model}" for model in ("ridge", "stefaland")]
    for target in ("soil_moisture", "streamflow"):
        with pytest.raises(SystemExit) as stopped:
            main(["score", "--compare", *words, "--target", target, "--out",
                  str(tmp_path / target)])  # fmt: skip
        assert stopped.value.code == 0
    found = [json.loads((tmp_path / name / "comparison.json").read_text())["rows"][0]["a"]
             for name in ("soil_moisture", "streamflow")]  # fmt: skip
    assert found[0] != found[1]
