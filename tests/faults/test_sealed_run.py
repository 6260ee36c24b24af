"""A finished run of which something is lost or changed: it is named, and it alone is made again."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from tests.end_to_end.small import digests
from tests.workflows.tiny import write_tiny
from workflows import fingerprints
from workflows.cli import main
from workflows.commands.compare import open_side
from workflows.commands.verify import verify, verify_run
from workflows.stages.manifest import Manifest
from workflows.stages.owned import below

STAGES = [name for name in fingerprints.NEEDS if name != "check"]
MAPS = (
    "publish.products=[{cube: globe, suffix: globe}]",
    "publish.legend=soil_moisture",
    "publish.spread_legend=soil_moisture_spread",
)
NETWORK = "finetuned/stefaland/block0"
SEALED = (
    "cubes/globe.zarr/zarr.json", "cubes/globe.zarr/time/c/0", "folds/block0.json",
    "folds/pretrain/block1.json", "stats/block0.json", "stats/training/block1.json",
    "pretrained/block0/model.safetensors", "pretrained/block1/config.json",
    "pretrained/block0/training/state.safetensors", f"{NETWORK}/data.json",
    f"{NETWORK}/config.json", f"{NETWORK}/card.md", f"{NETWORK}/heldout.zarr/mean/c/0/0",
    "finetuned/ridge/block1/heldout.zarr/mean/c/0/0", "predictions/globe.zarr/zarr.json",
    "mosaics/soil_moisture_globe.zarr/x/c/0", "maps/soil_moisture_globe.tif", "maps/tiny.qgz",
    "maps/soil_moisture_globe.json", "maps/soil_moisture_sites.gpkg", "scorecard.json",
    "heldout.zarr/predicted/c/0/0/0", "report.html",
)  # fmt: skip
SHARDS = (
    "cubes/globe.zarr/precipitation/c/0/0/1", "predictions/globe.zarr/soil_moisture/c/0/1/1",
    "mosaics/soil_moisture_globe.zarr/soil_moisture/c/0/0/0",
)  # fmt: skip


class TinyRun:
    """A finished run in a folder of its own, and its command line."""

    def __init__(self, config: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self.runs, self.folder = config, runs, runs / "tiny"
        self.capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run `stefaland WORDS` with the config and settings of the run; what it prints."""
        command, *options = words
        settings = [part for s in (*MAPS, f"roots.runs={self.runs}") for part in ("--set", s)]
        with pytest.raises(SystemExit) as stopped:
            main([command, str(self.config), *settings, *options])
        out, err = self.capsys.readouterr()
        assert stopped.value.code == code, err
        return out + err

    def flip(self, name: str) -> bytes:
        """Change one bit in the middle of a file; returns the bytes that it had."""
        before = (self.folder / name).read_bytes()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        (self.folder / name).write_bytes(changed)
        return before

    def times(self) -> dict[str, int]:
        """Time of the last change of every result by name."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_mtime_ns
            for path in below(self.folder)
            if path.relative_to(self.folder).parts[0] not in (".stages", ".lock", ".turn", "ledger")
        }

    def changed_since(self, times: dict[str, int]) -> set[str]:
        return {name for name, time in self.times().items() if times.get(name) != time}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of config and data of a run of all stages, below `runs`."""
    home = tmp_path_factory.mktemp("tiny")
    config = write_tiny(home)
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "run", str(config), *(part for s in MAPS for part in ("--set", s))])
    assert stopped.value.code == 0
    return home


@pytest.fixture
def run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TinyRun:
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return TinyRun(finished / "tiny.yml", tmp_path / "runs", capsys)


def test_every_file_of_a_run_is_sealed_once_and_the_run_is_sound(run: TinyRun) -> None:
    for path in (run.folder, run.config):
        with pytest.raises(SystemExit) as stopped:
            main(["verify", str(path)])
        assert stopped.value.code == 0
        assert run.capsys.readouterr().out == f"{path}: sound\n"
    manifests = [Manifest.load(path) for path in run.folder.glob(".stages/*.manifest.json")]
    listed = [name for manifest in manifests for name in manifest.files]
    assert len(listed) == len({*listed})
    own = {".lock", ".turn"}
    for path in below(run.folder):
        name = str(path.relative_to(run.folder))
        if name not in own and not name.startswith(".stages/"):
            assert sum(manifest.owns(name) for manifest in manifests) == 1, name
    assert {*SEALED} <= {*listed}
    assert not {*SHARDS} & {*listed}


def test_verify_finds_one_changed_bit_in_any_file_and_any_shard(run: TinyRun) -> None:
    for name in SEALED:
        before = run.flip(name)
        (fault,), _ = verify_run(run.folder)
        assert re.fullmatch(rf"\w+: {re.escape(name)}: has other bytes than were written", fault)
        (run.folder / name).write_bytes(before)
    for name in SHARDS:
        before = run.flip(name)
        (fault,), _ = verify_run(run.folder)
        store, _, rest = name.partition(".zarr/")
        assert f"{store}.zarr, r00" in fault
        assert rest in fault
        (run.folder / name).write_bytes(before)
    assert verify_run(run.folder) == ([], [])


def test_a_digit_of_a_scaler_is_found_at_the_next_start_and_made_again(run: TinyRun) -> None:
    data, before = run.folder / NETWORK / "data.json", digests(run.folder / "finetuned")
    text = data.read_text()
    digit = re.search(r'"mean": -?\d\.\d(\d)', text)
    assert digit is not None
    at = digit.start(1)
    data.write_text(f"{text[:at]}{9 - int(text[at])}{text[at + 1 :]}")
    assert data.stat().st_size == len(text)
    printed = run("run", "--until", "finetune")
    assert f"finetune  {NETWORK}/data.json: has other bytes than were written" in printed
    assert digests(run.folder / "finetuned") == before


def test_a_stage_refuses_changed_inputs_and_its_hint_works_as_typed(run: TinyRun) -> None:
    weights, before = f"{NETWORK}/model.safetensors", digests(run.folder / "finetuned")
    times = run.times()
    run.flip(weights)
    printed = run("predict", "--restart", code=2)
    assert f"{run.folder / weights}: found has other bytes" not in printed
    assert f"{run.folder / weights}: found a file that has other bytes than were written" in printed
    hint = re.search(r"`stefaland (run) CONFIG (--\w+)`", printed)
    assert hint is not None
    assert run.changed_since(times) == {weights}, "nothing was removed"
    run(hint[1], hint[2], "--until", "finetune")
    assert digests(run.folder / "finetuned") == before
    assert "already finished" in run("run", "--until", "finetune")


def test_a_truncated_scorecard_makes_the_score_stage_run_again(run: TinyRun) -> None:
    card = run.folder / "scorecard.json"
    before = card.read_bytes()
    card.write_bytes(before[:100])
    printed = run("run", "--from", "score", "--until", "score")
    assert f"score  scorecard.json: has 100 bytes, not the {len(before)} written" in printed
    assert "report" in printed
    assert {**read_json(card), "provenance": 0} == {**json.loads(before), "provenance": 0}


def test_a_lost_checkpoint_is_trained_again_and_no_other(run: TinyRun) -> None:
    times, before = run.times(), digests(run.folder / "finetuned")
    (run.folder / NETWORK / "model.safetensors").unlink()
    assert "model.safetensors: is missing" in run("run", "--until", "finetune")
    assert digests(run.folder / "finetuned") == before
    changed = run.changed_since(times)
    assert changed
    assert all(name.startswith(f"{NETWORK}/") for name in changed)


def test_a_lost_shard_is_predicted_again_and_no_other_tile(run: TinyRun) -> None:
    times, shard = run.times(), run.folder / SHARDS[1]
    before = shard.read_bytes()
    shard.unlink()
    printed = run("run", "--until", "predict")
    assert "predictions/globe.zarr, r001_c001: a shard is missing" in printed
    assert shard.read_bytes() == before
    changed = run.changed_since(times)
    assert {Path(name).parts[-2:] for name in changed} == {("1", "1")}


def test_verify_repairs_a_run_for_the_next_start(run: TinyRun) -> None:
    before = run.flip(SHARDS[1]), run.flip("heldout.zarr/predicted/c/0/0/0")
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(run.folder), "--repair"])
    assert stopped.value.code == 1
    lines = run.capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "predict", "score", "the next run makes these again"
    ]  # fmt: skip
    run("run", "--until", "predict")
    assert (run.folder / SHARDS[1]).read_bytes() == before[0]
    assert not (run.folder / "heldout.zarr").exists()
    faults, notes = verify_run(run.folder)
    assert not faults
    assert [note.split(":")[0] for note in notes] == ["mosaic", "publish", "score", "report"]


def test_lost_cubes_and_lost_markers_are_computed_again(run: TinyRun) -> None:
    before = digests(run.folder / "cubes")
    shutil.rmtree(run.folder / "cubes")
    assert "and 16 more, which `stefaland verify` lists" in run("run", "--until", "regrid")
    assert digests(run.folder / "cubes") == before
    next(run.folder.glob("ledger/regrid-globe/*/r000_c001.done.json")).unlink()
    assert "lists 5 of 6 tiles as finished" in run("run", "--until", "regrid")
    assert verify(run.folder / "cubes" / "globe.zarr") == ([], [])


def test_a_map_store_is_verified_by_its_ledger(run: TinyRun) -> None:
    run.flip(SHARDS[2])
    problems, _ = verify(run.folder / "mosaics" / "soil_moisture_globe.zarr")
    assert [problem.tile for problem in problems] == ["r000_c000"]


def test_the_state_of_a_finished_training_may_be_removed(run: TinyRun) -> None:
    shutil.rmtree(run.folder / NETWORK / "training")
    state = run.folder / "pretrained/block0/training/state.safetensors"
    state.write_bytes(state.read_bytes() + b"1")
    printed = run("run", "--until", "finetune")
    assert "state.safetensors: has" in printed
    assert printed.count("already finished") == 4
    assert not state.exists()
    assert verify_run(run.folder) == ([], [])


def test_a_damaged_manifest_makes_its_stage_start_anew(run: TinyRun) -> None:
    before = digests(run.folder / "stats")
    write_json(run.folder / ".stages/stats.manifest.json", [])
    assert "stats.manifest.json: was lost or changed" in run("run", "--until", "stats")
    assert digests(run.folder / "stats") == before


def test_a_manifest_names_only_files_of_its_run(tmp_path: Path) -> None:
    for name in ("../evil", "/etc/passwd", ""):
        write_json(tmp_path / "a.json", {"files": {name: "1 a"}, "stores": {}})
        with pytest.raises(InputError, match="the manifest of a stage"):
            Manifest.load(tmp_path / "a.json")


def test_changed_held_out_predictions_are_not_compared(run: TinyRun) -> None:
    open_side(str(run.folder))
    run.flip("heldout.zarr/predicted/c/0/0/0")
    with pytest.raises(InputError, match=r"heldout\.zarr.*other bytes.*--verify"):
        open_side(str(run.folder))


def test_outputs_of_another_version_are_kept_until_upgrade(
    run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(run.folder)
    real = fingerprints.metadata.version
    monkeypatch.setattr(
        fingerprints.metadata, "version", lambda of: "9.9.9" if of == "stefaland" else real(of)
    )
    for words in (("run",), ("regrid",)):
        printed = run(*words, code=2)
        assert f"removed: of {', '.join(STAGES)} (version" in printed
        assert "version 0.2.0 → 9.9.9" in printed
        assert "Run the same command with --upgrade" in printed
    assert digests(run.folder) == before
    assert "version 0.2.0 → 9.9.9" in run("regrid", "--upgrade")
    assert read_json(run.folder / ".stages/regrid.finished.json")["version"] == "9.9.9"
    assert (run.folder / "finetuned").exists()


def test_markers_that_record_no_settings_are_of_an_earlier_version(run: TinyRun) -> None:
    for path in run.folder.glob(".stages/*ed.json"):
        write_json(path, {"fingerprint": "0123456789abcdef", "outputs": []})
    before = digests(run.folder)
    assert "made by an earlier version, which recorded no settings" in run("run", code=2)
    assert digests(run.folder) == before


def test_a_changed_setting_and_a_changed_source_are_named(
    run: TinyRun, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run("predict", "--set", "predict.precision=float32")
    assert "predict  starts anew: predict.precision auto → float32" in printed
    real = fingerprints.path_stamp
    monkeypatch.setattr(
        fingerprints, "path_stamp", lambda path: [*real(path), *(["new"] * ("rain" in str(path)))]
    )
    assert "regrid  starts anew: source rain: 1 file changed" in run("regrid")


def test_a_folder_that_was_never_a_run_stays_as_it_is(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thesis = tmp_path / "tiny" / "maps" / "thesis.pdf"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    foreign = TinyRun(finished / "tiny.yml", tmp_path, capsys)
    for command in ("run", "check", "stats", "submit"):
        printed = foreign(command, code=2)
        assert f"{tmp_path / 'tiny'}: found a folder that is no run and holds maps" in printed
    assert [*below(tmp_path)] == [thesis]
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["maps"]


def test_files_of_the_user_survive_and_what_killed_writers_left_does_not(run: TinyRun) -> None:
    notes = [run.folder / name for name in (
        "maps/notes.txt", "maps/mine.png", "stats/thesis.docx", "cubes/read.me", "thesis.md",
        "predictions/globe.zarr.md", "finetuned/ridge/block0/notes.txt", "maps/mine.zarr/c/0",
    )]  # fmt: skip
    for path in notes:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    host = socket.gethostname().replace(".", "_")
    abandoned = [run.folder / folder / f".a.{host}.999999999.0.partial"
                 for folder in (".stages", "maps", "cubes/globe.zarr/x")]  # fmt: skip
    for path in abandoned:
        path.write_text("")
    run("predict", "--restart")
    assert all(path.read_text() == "mine" for path in notes)
    assert not any(path.exists() for path in abandoned)


def test_a_file_of_the_user_that_a_stage_would_replace_is_refused(run: TinyRun) -> None:
    inside = run.folder / "predictions/globe.zarr/notes.txt"
    inside.write_text("mine")
    before = digests(run.folder)
    printed = run("predict", "--restart", code=2)
    name = inside.relative_to(run.folder)
    assert f"{run.folder}: found files that no stage of this run wrote: 1 ({name})" in printed
    assert digests(run.folder) == before


def test_a_damaged_marker_is_one_error(run: TinyRun) -> None:
    marker = run.folder / ".stages" / "stats.finished.json"
    for content in ("[]", "", "{", "\x00\x00", "3"):
        marker.write_text(content)
        printed = run("stats", code=2)
        assert "stats.finished.json" in printed
        assert "Delete it and run the same command again." in printed
        assert "Traceback" not in printed
    marker.unlink()
    run("stats")
