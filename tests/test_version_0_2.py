"""What version 0.2.0 wrote is still read: a run of all stages, checkpoints of every kind.

`make.py` among the fixtures made them with that version's code, and says how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from safetensors import safe_open

import workflows
from pipeline.core.files import read_json
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.execution.ledger import Ledger
from pipeline.publish.zarr import open_map_zarr
from stefaland.checkpoints.checkpoint import load_checkpoint, stored_normaliser
from stefaland.config import PretrainConfig
from stefaland.data.cell_data import CellData
from stefaland.data.windows import Windows
from stefaland.model.mae import StefaLand
from stefaland.prediction.embed_cells import embed_cells
from stefaland.prediction.member import load_member
from stefaland.prediction.predict import predict_cells
from stefaland.training.optimiser import make_optimiser
from stefaland.training.state import load_state
from tests.old_run import ENVIRONMENT, FIXTURES, date_sources, unpack_old_run
from workflows.commands.status import stages
from workflows.commands.verify import verify_run
from workflows.config.load import load_config
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages.markers import StageState

EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
DAY = 10
"""Time step of stores whose values are kept; as in make.py."""
WINDOW = 12
"""Window of the checkpoints' networks; as in make.py."""
KINDS = sorted(EXPECTED["checkpoints"])
PRETRAINED = [kind for kind in KINDS if kind.startswith("pretrained")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixtures to work in, with the run folder `run` unpacked."""
    return unpack_old_run(tmp_path, monkeypatch)


@pytest.fixture
def run(home: Path) -> Run:
    return Run(load_config(home / "config.yml"))


def stefaland(home: Path, *arguments: str, exit_code: int = 0) -> str:
    """What the command line prints when it is run in a folder as a user would."""
    code = str(Path(str(workflows.__file__)).parents[1])
    path = os.pathsep.join(part for part in (code, os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", *arguments], cwd=home, capture_output=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path, "COLUMNS": "200"}, text=True,
        check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr


def array(values: Any) -> np.ndarray:
    """Stored numbers, None as NaN."""
    return np.array(values, dtype=np.float64)


def assert_near(found: Any, expected: Any, what: str = "") -> None:
    values = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    np.testing.assert_allclose(
        values.astype(np.float64), array(expected), rtol=1e-5, atol=1e-6, err_msg=what
    )


def assert_holds(found: Any, expected: Any, where: str = "") -> None:
    """All that was known then is so now; later versions may know more."""
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            assert key in found, f"{where}.{key}"
            assert_holds(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_holds(one, other, f"{where}.{i}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-9), where
    else:
        assert found == expected, where


def assert_store(path: Path, expected: dict[str, Any]) -> None:
    """A store's sizes and variables are as they were, and its values of one day."""
    ds = open_cube(path)
    assert dict(ds.sizes) == expected["sizes"]
    names = set(expected) - {"sizes"}
    assert set(ds.data_vars) == names
    for name in sorted(names):
        of, values = expected[name], ds[name].values.astype(np.float64)
        assert list(ds[name].dims) == of["dims"]
        assert int(np.isfinite(values).sum()) == of["count"], name
        assert_near(np.nanmean(values), of["mean"], name)
        day = ds[name].isel(time=DAY) if "time" in ds[name].dims else ds[name]
        assert_near(day.values, of["values"], name)


# The run


def test_config_and_catalog_are_read_as_they_were(run: Run) -> None:
    assert_holds(run.config.model_dump(mode="json"), EXPECTED["config"], "config")
    sources = {n: source.model_dump(mode="json") for n, source in run.catalog.sources.items()}
    assert_holds(sources, EXPECTED["catalog"], "catalog")


def test_the_sources_fit_their_entries(home: Path) -> None:
    stefaland(home, "catalog", "check", "catalog.yml")


def test_status_lists_every_stage_as_finished(home: Path) -> None:
    lines = stefaland(home, "status", "run").splitlines()
    for name in EXPECTED["stages"]:
        (line,) = [line for line in lines if name in line.split()]
        assert "finished" in line
    found = stages(home / "run")
    assert [n for n, of in found.items() if of["state"] == "finished"] == EXPECTED["stages"]
    assert found["score"]["result"]["best"] == EXPECTED["scorecard"]["ranking"][0]
    assert found["finetune"]["result"]["folds"] == ["time"]


def test_a_lost_output_is_seen(home: Path) -> None:
    (home / "run/scorecard.json").unlink()
    assert StageState(home / "run", "score", "").lost() == [home / "run/scorecard.json"]
    assert stages(home / "run")["score"]["state"] == "output gone"


def test_a_run_without_manifests_is_unsealed_and_that_is_no_fault(home: Path) -> None:
    faults, notes = verify_run(home / "run")
    assert faults == []
    assert [note.split(" as ")[0] for note in notes] == [
        f"{name}: unsealed," for name in EXPECTED["stages"]
    ]
    shard = home / "run/cubes/land.zarr/elevation/c/0/1"
    shard.unlink()
    faults, _ = verify_run(home / "run", mend=True)
    assert faults == ["regrid: cubes/land.zarr, r000_c001: elevation: elevation/c/0/1 is missing"]
    assert [name for name, of in stages(home / "run").items() if of["state"] == "finished"] == []
    assert (home / "run/predictions/land.zarr").exists()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("cubes/land.zarr", "cube"),
        ("predictions/land.zarr", "predictions"),
        ("mosaics/soil_moisture_land.zarr", "mosaic"),
    ],
)
def test_cubes_are_read(home: Path, place: str, name: str) -> None:
    assert_store(home / "run" / place, EXPECTED[name])


@pytest.mark.parametrize("place", ["cubes/land.zarr", "predictions/land.zarr"])
def test_cubes_are_found_sound(home: Path, place: str) -> None:
    assert "sound" in stefaland(home, "verify", f"run/{place}")


def test_a_damaged_shard_is_found(home: Path) -> None:
    shard = home / "run/cubes/land.zarr/precipitation/c/0/0/1"
    content = bytearray(shard.read_bytes())
    content[20] ^= 255
    shard.write_bytes(content)
    printed = stefaland(home, "verify", "run/cubes/land.zarr", exit_code=1)
    assert "r000_c001, precipitation: corrupt" in printed


def test_markers_of_tiles_are_read(home: Path) -> None:
    for stage, place in (("regrid", "cubes"), ("predict", "predictions")):
        (markers,) = (home / f"run/ledger/{stage}-land").iterdir()
        ledger = Ledger(markers.parent, markers.name)
        tiles = cube_tiles(home / "run" / place / "land.zarr")
        assert ledger.names_done() == {tile.name for tile in tiles}
        assert len(tiles) == 2
        valid = sum(of["soil_moisture"]["valid"] for of in ledger.summaries().values())
        expected = EXPECTED["cube" if stage == "regrid" else "predictions"]
        assert valid == expected["soil_moisture"]["count"]


def test_folds_and_statistics_are_read(run: Run) -> None:
    files = FoldFiles(run.folder)
    for where, expected in EXPECTED["fold"].items():
        found = json.loads(json.dumps(files.fold(where).to_dict()))
        assert_holds(found, expected, where)
    assert_holds(files.normaliser("time").to_dict(), EXPECTED["statistics"], "statistics")


def test_a_finished_run_is_finished_and_its_last_stages_can_be_run_again(run: Run) -> None:
    home, config = run.folder.parent, "config.yml"
    date_sources(home)  # Fingerprints hold these times, which no archive keeps.
    before = {
        path.relative_to(run.folder): path.read_bytes()
        for path in run.folder.rglob("*")
        if path.is_file()
    }
    printed = stefaland(home, "run", config)
    for name in EXPECTED["stages"]:
        assert f"{name}  already finished, skipped" in printed
    shutil.rmtree(run.folder / "ledger" / "predict-land")
    shutil.rmtree(run.folder / "predictions")
    stefaland(home, "run", config, "--from", "predict", "--until", "score")
    stored = open_cube(run.prediction("land"))
    assert_store(run.prediction("land"), EXPECTED["predictions"])
    assert stored.attrs
    again = read_json(run.folder / "scorecard.json")
    of_old = json.loads(before[Path("scorecard.json")])
    pooled = {name: of["pooled"] for name, of in again["models"].items()}
    assert_holds(pooled, EXPECTED["scorecard"]["pooled"], "scorecard")
    for name in ("ranking", "sites", "models", "stefaland_minus"):
        assert_holds(again[name], of_old[name], name)


def test_predictions_of_held_out_days_are_read(home: Path) -> None:
    assert set(EXPECTED["heldout"]) == {
        "stefaland", "climatology", "persistence", "ridge", "gradient_boosting", "lstm",
    }  # fmt: skip
    for model, expected in EXPECTED["heldout"].items():
        assert_store(home / "run/finetuned" / model / "time/heldout.zarr", expected)


def test_runs_are_compared(home: Path) -> None:
    stefaland(home, "score", "--compare", "run", "run:ridge", "--out", "compared")
    found = read_json(home / "compared/comparison.json")
    assert_holds(found, EXPECTED["comparison"], "comparison")
    stefaland(home, "score", "--compare", "run", "run", "--out", "same")
    differences = [row["difference"] for row in read_json(home / "same/comparison.json")["rows"]]
    assert {value for value in differences if value is not None} == {0.0}


def test_published_maps_are_read(run: Run) -> None:
    with rasterio.open(run.maps / "soil_moisture_land.tif") as raster:
        assert raster.units[0] == EXPECTED["tif"]["units"]
        assert list(raster.transform)[:6] == EXPECTED["tif"]["transform"]
        assert_near(raster.read(1, masked=True).filled(np.nan), EXPECTED["tif"]["values"])
    assert_near(open_map_zarr(run.maps / "soil_moisture_land.zarr").values, EXPECTED["zarr"])


def test_a_training_state_is_read(run: Run) -> None:
    folder = run.pretrained("time")
    path = folder / "training/state.safetensors"
    with safe_open(str(path), framework="pt") as store:
        stored = json.loads(store.metadata()["state"])
    trained, data = load_checkpoint(folder)
    assert isinstance(trained, StefaLand)
    model = StefaLand(trained.config)
    config = PretrainConfig.model_validate(data["training"]["config"])
    optimiser = make_optimiser(model, config.optimiser)
    found = load_state(path, stored["fingerprint"], model, optimiser)
    assert found is not None
    progress, _, best = found
    assert progress.finished
    assert len(progress.history) == data["training"]["epochs"] == 2
    assert progress.best_epoch == data["training"]["best_epoch"]
    assert len(optimiser.state_dict()["state"]) == len(list(model.parameters()))
    assert best is not None
    for name, value in trained.state_dict().items():
        assert torch.equal(best[name], value)


# The checkpoints


def table() -> CellData:
    """The cells that the networks were asked about."""
    stored = json.loads((FIXTURES / "checkpoints/input.json").read_text())
    return CellData(
        forcings=torch.from_numpy(array(stored["forcings"])).float(),
        statics=torch.from_numpy(array(stored["statics"])).float(),
        cell=torch.tensor(stored["cell"]),
        lonlat=torch.from_numpy(array(stored["lonlat"])).float(),
        time=np.array(stored["time"], "datetime64[D]"),
        forcing_names=tuple(stored["forcing_names"]),
        static_names=tuple(stored["static_names"]),
        categorical=torch.tensor(stored["categorical"]),
        categorical_names=tuple(stored["categorical_names"]),
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PRETRAINED])
def test_a_trained_network_predicts_the_same(kind: str) -> None:
    folders = sorted(path.parent for path in (FIXTURES / "checkpoints" / kind).rglob("config.json"))
    assert len(folders) == (2 if kind == "ensemble" else 1)
    found = predict_cells([load_member(folder) for folder in folders], table())
    expected = EXPECTED["checkpoints"][kind]
    assert ("quantiles" in expected) == ("quantile" in kind)
    for name, values in expected.items():
        assert_near(found[name], values, f"{kind}: {name}")


@pytest.mark.parametrize("kind", PRETRAINED)
def test_a_pretrained_network_reconstructs_and_embeds_the_same(kind: str) -> None:
    folder, data = FIXTURES / "checkpoints" / kind, table()
    model, stored = load_checkpoint(folder)
    assert isinstance(model, StefaLand)
    assert stored["units"] == {"clay": "1"}
    scaler = stored_normaliser(folder, stored)
    rows = torch.arange(len(data))
    with torch.no_grad():
        batch = Windows(data, scaler, WINDOW).gather(rows, torch.zeros_like(rows))
        n_attributes = len(data.static_names) + len(data.categorical_names)
        found = model(
            batch,
            # A third of the forcings is hidden, and half of the attributes.
            index_sums(*batch.forcings.shape) % 3 == 0,
            index_sums(len(data), n_attributes) % 2 == 0,
        )
    expected = EXPECTED["checkpoints"][kind]
    assert_near(found.forcings, expected["forcings"])
    assert_near(found.statics, expected["statics"])
    for scores, of in zip(found.categorical, expected["categorical"], strict=True):
        assert_near(scores, of)
    assert_near(embed_cells(model, scaler, data, WINDOW), expected["embedding"])


def index_sums(*shape: int) -> torch.Tensor:
    """The sum of each element's indices."""
    return torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).sum(0)
