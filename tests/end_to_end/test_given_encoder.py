"""An encoder imported from the published code stands for pretraining, from config to scorecard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.catalog.catalog import read_variables
from stefaland.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from stefaland.prediction.member import load_member
from tests.end_to_end.small import QUICKSTART, settings, stefaland
from tests.published import published_tensors, small_reference
from workflows.cli import main

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(900)]

FOLDS = ("americas", "others")
SMALL = (
    *QUICKSTART,
    "finetune.epochs=1",
    "finetune.steps_per_epoch=3",
    "finetune.baselines=[climatology, scratch]",
    "predict.cubes=[conus]",
    "publish.products=[{cube: conus, suffix: conus}]",
    "places=[]",
)


@dataclass(frozen=True)
class Made:
    """The runs' folder, and files that `stefaland import-reference` takes."""

    runs: Path
    weights: Path
    statistics: Path
    units: Path

    @property
    def imported(self) -> Path:
        return self.runs / "imported"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The run up to its statistics, and a published checkpoint of its variables with others."""
    runs = tmp_path_factory.mktemp("runs")
    done = stefaland(runs, "quickstart", SMALL, "run", "--until", "stats")
    assert done.returncode == 0, done.stderr
    known = json.loads((runs / "quickstart" / "stats" / "others.json").read_text())
    made = Made(runs, *(runs / name for name in ("a.pt", "statistics.json", "units.json")))
    del known["soil_moisture"]
    forcings = ("precipitation", "air_temperature", "shortwave_radiation", "snow_amount")
    statics = [name for name in known if name not in forcings]
    torch.save({"model_state_dict": published_tensors(small_reference(forcings, statics))},
               made.weights)  # fmt: skip
    made.statistics.write_text(json.dumps(
        {n: {"mean": s["mean"] + 0.1 * s["std"], "std": 1.5 * s["std"], "transform": s["transform"]}
         for n, s in known.items()}
    ))  # fmt: skip
    variables = read_variables()
    made.units.write_text(json.dumps(
        {n: variables[n].units if n in variables else "1" for n in known}
    ))  # fmt: skip
    import_it(made, made.imported)
    return made


def import_it(made: Made, folder: Path, *options: str) -> None:
    """`stefaland import-reference`."""
    arguments = ["import-reference", str(made.weights), str(folder), "--statistics",
                      str(made.statistics), "--units", str(made.units), *options]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0


def test_an_imported_encoder_is_finetuned_and_scored_with_its_own_scaler(made: Made) -> None:
    setting = f"pretrain.from_checkpoint={made.imported}"
    done = stefaland(made.runs, "quickstart", (*SMALL, setting), "run", "--until", "report")
    assert done.returncode == 0, done.stderr
    folder = made.runs / "quickstart"
    imported, _ = load_checkpoint(made.imported)
    scaler = json.loads(made.statistics.read_text())
    for fold in FOLDS:
        taken, metadata = load_checkpoint(folder / "pretrained" / fold)
        for name, value in imported.state_dict().items():
            assert torch.equal(value, taken.state_dict()[name])
        assert metadata["taken_from"]["folder"] == "${runs}/imported"
        member = load_member(folder / "finetuned" / "stefaland" / fold)
        for name, scaling in scaler.items():
            assert member.normaliser.scalings[name].std == scaling["std"]
        encoder = member.model.encoder.state_dict()
        assert torch.equal(encoder["tokens.positions"], imported.state_dict()["tokens.positions"])
        scratch = load_member(folder / "finetuned" / "scratch" / fold)
        assert scratch.model.model_config == imported.config, "the same network, untrained"
        assert scratch.normaliser.scalings["elevation"].std != scaler["elevation"]["std"]
    card = json.loads((folder / "scorecard.json").read_text())
    assert "may have seen locations and days that are held out" in card["caveats"][0]
    assert card["provenance"]["config"]["pretrain"]["from_checkpoint"] == "${runs}/imported"
    assert set(card["encoder"]["sha256"]) == {"config.json", "data.json"}
    assert "may have seen locations and days" in (folder / "report.html").read_text()
    again = stefaland(made.runs, "quickstart", (*SMALL, setting), "run", "--until", "score")
    assert "pretrain  already finished" in again.stderr


def refused(made: Made, capsys, monkeypatch, *overrides: str) -> str:
    """Output of `stefaland run`, which fails before any compute."""
    monkeypatch.setenv("STEFALAND_RUNS", str(made.runs))
    monkeypatch.setenv("STEFALAND_DATA", "data/registry")
    with pytest.raises(SystemExit) as stopped:
        main(["run", "quickstart", *settings((*SMALL, *overrides))])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_all_that_does_not_fit_is_reported_together(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other"
    import_it(made, folder)
    model, data = load_checkpoint(folder)
    data["units"]["air_temperature"] = "K"
    del data["normaliser"]["ndvi_max"]
    save_checkpoint(folder, model, data)
    text = refused(
        made, capsys, monkeypatch, f"pretrain.from_checkpoint={folder}",
        "inputs.forcings=[precipitation, air_temperature, snow_amount]",
        "pretrain.window=60", "finetune.window=60",
    )  # fmt: skip
    assert 'units of air_temperature: found "K"; expected "degC"' in text
    assert "ndvi_max: found no training statistics" in text
    assert "with ['shortwave_radiation'] in addition" in text
    assert "found 61 positions; expected at most 40" in text
    assert text.count("error:") == 4
    text = refused(made, capsys, monkeypatch, f"pretrain.from_checkpoint={tmp_path / 'none'}")
    assert "without a config.json" in text


def test_statistics_of_other_units_are_seen_without_units(made: Made, tmp_path: Path) -> None:
    known = json.loads(made.statistics.read_text())
    known["air_temperature"]["mean"] += 273.15
    (tmp_path / "kelvin.json").write_text(json.dumps(known))
    folder = tmp_path / "kelvin"
    with pytest.raises(SystemExit) as stopped:
        main(["import-reference", str(made.weights), str(folder), "--statistics",
              str(tmp_path / "kelvin.json")])  # fmt: skip
    assert stopped.value.code == 0
    settings = (*SMALL, f"pretrain.from_checkpoint={folder}")
    done = stefaland(made.runs, "quickstart", settings, "run", "--until", "pretrain")
    assert done.returncode == 2
    assert "statistics of air_temperature: found mean 2" in done.stderr
    assert done.stderr.count("error:") == 1
