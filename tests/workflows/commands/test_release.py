"""A pretrained encoder as a folder to publish: texts, digests, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import InputError
from stefaland.checkpoints.checkpoint import load_encoder, save_checkpoint
from tests.workflows.stages.test_stage_leaks import streamflow
from workflows.commands.release import release
from workflows.run import Run
from workflows.stages import pretrain, stats
from workflows.stages.order import stage_state


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = streamflow(tmp_path_factory.mktemp("runs"))
    stats.main(run)
    pretrain.main(run)
    finish(run)
    return run


def finish(run: Run) -> None:
    """Mark the pretraining of a run as finished under its settings."""
    state = stage_state(run, "pretrain")
    state.start([], resume=True)
    state.finish(1.0, 1, {}, pretrain.outputs(run))


def test_a_release_has_card_statement_sites_and_digests(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    made = release(run, "tiny", folder, "group0")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, file in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert file == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    content = (folder / "manifest.json").read_bytes()
    assert made["manifest_sha256"] == hashlib.sha256(content).hexdigest()
    model, data = load_encoder(folder)
    assert model.config.forcings == ("precipitation", "air_temperature_max")

    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "apache-2.0"
    units = next(one for one in metadata["source_datasets"] if one["name"] == "drb_units")
    assert units["licence"]
    for word in ("## Intended use", "stefaland.load(", "## Leakage warning",
                 "own harmonics", "It has seen no targets.", "drb_units"):  # fmt: skip
        assert word in text
    assert data["training"]["verdict"] in text, "an encoder of one step is under-trained"
    with (folder / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    (seen,) = data["pretraining_cells"]
    assert [int(row["id"]) for row in rows] == seen["sites"]
    assert float(rows[0]["lon"]) == seen["lon"][0]
    assert f"| units | {len(rows)} |" in (folder / "DATA_STATEMENT.md").read_text()


def test_an_encoder_of_other_settings_or_of_another_run_is_refused(
    run: Run, tmp_path: Path
) -> None:
    others = Run(run.config.model_copy(update={"seed": run.config.seed + 1}))
    with pytest.raises(InputError, match="stage pretrain not finished under these settings"):
        release(others, "tiny", tmp_path / "tiny", "group0")
    given = streamflow(tmp_path / "given", f"pretrain.from_checkpoint={run.encoders}")
    stats.main(given)
    pretrain.main(given)
    finish(given)
    with pytest.raises(InputError, match="an encoder that was given to this run"):
        release(given, "tiny", tmp_path / "tiny", "group0")
    assert not (tmp_path / "tiny").exists()


def test_what_is_no_release_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--fold: found nothing; expected one of .*group0"):
        release(run, "tiny", tmp_path / "a")
    with pytest.raises(InputError, match='--fold: found "group9"'):
        release(run, "tiny", tmp_path / "a", "group9")
    with pytest.raises(InputError, match="--name: found"):
        release(run, "../tiny", tmp_path / "a", "group0")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="something is there already"):
        release(run, "tiny", tmp_path, "group0")
    model, data = load_encoder(run.pretrained("group1"))
    del data["pretraining_cells"]
    save_checkpoint(run.pretrained("group1"), model, data)
    finish(run)
    with pytest.raises(InputError, match="no record of the cells that pretrained it"):
        release(run, "tiny", tmp_path / "a", "group1")
