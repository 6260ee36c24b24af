"""Checkpoints given instead of pretraining, compared with the config before any cube is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import Faults
from stefaland.checkpoints.checkpoint import save_checkpoint
from tests.published import small_reference
from workflows.config.load import load_config
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.given_encoder import check_given_encoder, fold_checkpoint
from workflows.run import Run
from workflows.stages.unpack import encoder_requirements

FORCINGS = ("precipitation", "air_temperature", "shortwave_radiation", "snow_amount")
STATICS = ("elevation", "landcover_fraction_forest")


def run(folder: Path, checkpoint: Path, *overrides: str) -> Run:
    settings = (f"roots.runs={folder}", f"pretrain.from_checkpoint={checkpoint}",
                "inputs.statics=[elevation, landcover_fraction_*]", *overrides)  # fmt: skip
    return Run(load_config("quickstart", settings))


def written(folder: Path, **units: str) -> Path:
    names = (*FORCINGS, *STATICS)
    data = {"normaliser": {name: {"mean": 0.0, "std": 1.0} for name in names}, "units": units}
    return save_checkpoint(folder, small_reference(FORCINGS, STATICS), data)


def faults_of(run: Run) -> list[str]:
    faults, checkpoint = Faults(), run.given_encoder
    check_given_encoder(
        checkpoint, run.encoders, encoder_requirements(run, run.config.inputs.statics), faults
    )
    return [str(fault) for fault in faults.faults]


def test_one_checkpoint_stands_for_all_folds_or_each_has_its_own(tmp_path: Path) -> None:
    one = run(tmp_path, written(tmp_path / "one", air_temperature="celsius"))
    assert faults_of(one) == []
    assert fold_checkpoint(tmp_path / "one", "europe") == tmp_path / "one"
    for fold in ("asia", "europe"):
        written(tmp_path / "each" / fold)
    each = run(tmp_path, tmp_path / "each")
    assert faults_of(each) == []
    assert fold_checkpoint(tmp_path / "each", "europe") == tmp_path / "each" / "europe"
    before = stage_fingerprint(each, "pretrain")
    written(tmp_path / "each" / "asia", elevation="km")
    assert stage_fingerprint(each, "pretrain") != before, "the stage runs again"
    (fault,) = faults_of(each)
    assert 'asia/data.json: units of elevation: found "km"; expected "m"' in fault


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("inputs.forcings=[precipitation]",), "and with ['air_temperature', "),
        (("inputs.statics=[elevation, slope]",), "trained without ['slope']"),
        (("pretrain.window=60", "finetune.window=60"), "found 61 positions; expected at most 40"),
    ],
)
def test_what_the_config_asks_for_must_be_in_it(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    (fault,) = faults_of(run(tmp_path, written(tmp_path / "one"), *overrides))
    assert message in fault


def test_a_folder_that_the_run_clears_is_refused(tmp_path: Path) -> None:
    encoders = tmp_path / "quickstart" / "pretrained"
    written(encoders / "asia")
    for checkpoint in (encoders, encoders / "asia"):
        (fault,) = faults_of(run(tmp_path, checkpoint))
        assert "which this run writes itself" in fault
    (fault,) = faults_of(run(tmp_path, tmp_path / "none"))
    assert "without a config.json" in fault
