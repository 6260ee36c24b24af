"""Bad input ends a command before compute, with exit code 2 and one message with a hint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.config import FinetuneConfig, model_preset
from stefaland.folds.split import Fold
from stefaland.model.mae import StefaLand
from stefaland.training.finetune import finetune
from tests.end_to_end.small import QUICKSTART, settings
from workflows.cli import main
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data, open_cells
from workflows.run import Run
from workflows.stages import stats

pytestmark = pytest.mark.registry


@pytest.fixture
def fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    registry: Path,
):  # fmt: skip
    """Run the command line with overrides; returns what it printed after exit code 2."""
    monkeypatch.setenv("STEFALAND_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("STEFALAND_DATA", str(registry))

    def run(*overrides: str, arguments: tuple[str, ...] = ("run",)) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "quickstart", *settings((*QUICKSTART, *overrides))])
        printed = capsys.readouterr().err
        assert stopped.value.code == 2, printed
        assert "Traceback" not in printed
        return printed

    return run


def test_a_missing_data_package_is_named_with_the_command_that_installs_it(fails, tmp_path) -> None:
    text = fails(f"roots.data={tmp_path / 'nowhere'}")
    assert "no such file" in text
    assert "make data" in text
    assert text.count("error:") > 12


def test_a_missing_file_is_named(fails, tmp_path, registry) -> None:
    copy = tmp_path / "data"
    copy.mkdir()
    for package in registry.iterdir():
        (copy / package.name).symlink_to(package)
    (copy / "PTJPL").unlink()
    text = fails(f"roots.data={copy}")
    assert 'source "fapar_max"' in text
    assert text.count("error:") == 1


def test_a_misspelt_key_gets_the_nearest(fails) -> None:
    assert 'Did you mean "epochs"?' in fails("pretrain.epoks=3")


def test_unknown_variables_and_sources_get_the_nearest_all_together(fails) -> None:
    text = fails(
        "inputs.forcings=[precipitation, air_temprature]",
        "inputs.sources=[precipitation, air_temperature, soil_moistur, land_fraction]",
        "inputs.terrain_from=null",
    )
    assert 'Did you mean "air_temperature"?' in text
    assert 'Did you mean "soil_moisture"?' in text


def test_wrong_units_name_variable_and_hint(fails, tmp_path, registry) -> None:
    catalog = Path(__file__).parents[2] / "catalogs" / "quickstart.yml"
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(catalog.read_text().replace("units: mm/month", "units: K"))
    text = fails(f"catalogs=[{wrong}]")
    assert "precipitation" in text
    assert 'units "K"' in text
    assert '"mm/day"' in text


def test_a_grid_outside_a_source_names_both_extents(fails, tmp_path) -> None:
    grids = tmp_path / "grids.yml"
    grids.write_text('arctic: {crs: "EPSG:4326", bounds: [-180, 76, 180, 84], resolution: 2}\n')
    text = fails(
        f"grids=[grids.yml, {grids}]",
        "cubes.conus={grid: arctic}",
        "publish.products=[{cube: conus, suffix: arctic}]",
    )
    assert 'cube "conus", source "shortwave_radiation"' in text
    assert "(-180, 76, 180, 84)" in text
    assert text.count("error:") == 1


def test_an_unwritable_output_folder_is_refused(fails, tmp_path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert "cannot be written" in fails(f"roots.runs={blocker}")


def test_an_unknown_stage_gets_the_nearest(fails) -> None:
    text = fails(arguments=("run", "--until", "pretrian"))
    assert 'Did you mean "pretrain"?' in text


def test_a_stage_before_its_inputs_names_the_command_to_run(fails) -> None:
    assert "--until predict" in fails(arguments=("predict",))


def test_a_missing_config_is_hinted(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "quikstart.yml"])
    assert stopped.value.code == 2
    assert 'Did you mean "quickstart"' in capsys.readouterr().err


def _stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, land: float, target: float) -> Run:
    """A run whose global cube holds constants: no pipeline has to run for it."""
    monkeypatch.setenv("STEFALAND_RUNS", str(tmp_path))
    config = load_config(
        "quickstart",
        [*QUICKSTART, "inputs.forcings=[precipitation]", "inputs.statics=[elevation]"],
    )
    run = Run(config)
    grid = run.grid("global")
    time = np.array(["2001-01-15"], "datetime64[ns]")
    fields = {"precipitation": 1.0, "elevation": 100.0, "land_fraction": land}
    fields["soil_moisture"] = target
    series = ("precipitation", "soil_moisture")
    variables = {
        name: {"dims": ("time", "y", "x") if name in series else ("y", "x")} for name in fields
    }
    template = cube_template(grid, time, variables, (36, 90))
    create_cube(run.cube("global"), template, {})
    for tile in template.tiles:
        window = grid.window(tile.rows, tile.cols)
        arrays = {
            name: (variables[name]["dims"], np.full(
                ((1,) if name in series else ()) + window.shape, value, np.float32))
            for name, value in fields.items()
        }  # fmt: skip
        ds = xr.Dataset(arrays, {"time": time, "y": window.y, "x": window.x})
        write_tile(run.cube("global"), tile, ds)
    return run


def test_an_empty_land_mask_names_the_settings(tmp_path, monkeypatch) -> None:
    run = _stored(tmp_path, monkeypatch, land=0.0, target=0.2)
    with pytest.raises(InputError, match=r"no land cell.*min_land_fraction"):
        open_cells(run.cube("global"), run.config.inputs)


def test_a_fold_without_training_cells_is_named(tmp_path, monkeypatch) -> None:
    run = _stored(tmp_path, monkeypatch, land=1.0, target=np.nan)
    with pytest.raises(InputError, match=r"fold americas: train: found 0 cells"):
        stats.main(run)


def test_a_checkpoint_for_other_variables_lists_all_that_differs(tmp_path, monkeypatch) -> None:
    run = _stored(tmp_path, monkeypatch, land=1.0, target=0.2)
    table = open_cells(run.cube("global"), run.config.inputs)
    other = model_preset("stefaland-tiny", forcings=("rainfall",), statics=("height", "slope"))
    folder = save_checkpoint(tmp_path / "other", StefaLand(other), {"normaliser": {}})
    data = cell_data(table, run.config.inputs, ("elevation",))
    cells = data.cell.numpy()
    fold = Fold(name="f", kind="regions", train=cells[:1], validation=cells[1:2], test=cells[2:3])
    with pytest.raises(InputError) as caught:
        finetune(folder, data, fold, FinetuneConfig(window=1), tmp_path / "out")
    text = str(caught.value)
    assert "rainfall" in text
    assert "height" in text
    assert "slope" in text


def test_impossible_products_are_reported_with_their_key(fails) -> None:
    products = "publish.products=[{{cube: global, suffix: a, aggregate: {}}}]"
    assert "anomaly of a climatology of months" in fails(products.format("anomaly"))
    assert 'Did you mean "seasonal"' in fails(products.format("saesonal"))
    twice = "publish.products=[{cube: global, suffix: a}, {cube: conus, suffix: a}]"
    assert "several products with the suffix a" in fails(twice)
    share = "publish.products=[{cube: global, suffix: a, aggregate: seasonal, min_valid_share: 0}]"
    assert "publish.products.0.min_valid_share" in fails(share)
