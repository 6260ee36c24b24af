"""The quickstart at reduced size through a real SLURM, from `stefaland submit` to the maps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.small import QUICKSTART, command, digests, environment, stefaland
from tests.slurm.cluster import missing_programs

pytestmark = [
    pytest.mark.registry,
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {missing_programs()}"),
]
EPOCHS = 6
"""Epochs of pretraining: enough for a signal to arrive during it."""
SETTINGS = (
    *QUICKSTART,
    f"pretrain.epochs={EPOCHS}",
    # What dropout draws goes by the ranks, so that losses could be compared to a few percent only.
    "model.settings.dropout=0",
    "finetune.baselines=[climatology]",
    "cluster.slurm.cores=1",
    "cluster.slurm.memory=4GiB",
    "cluster.slurm.parts=3",
    "cluster.slurm.walltime=00:10:00",
)


def ask(slurm: dict[str, str], *words: str) -> str:
    """What a SLURM command prints."""
    done = subprocess.run(
        words, env={**os.environ, **slurm}, capture_output=True, text=True, check=True
    )
    return done.stdout


def submit(slurm: dict[str, str], runs: Path, *more: str, run: str = "submit") -> dict[str, str]:
    """Ids of the submitted jobs by name."""
    done = subprocess.run(
        command("quickstart", (*SETTINGS, *more), run), cwd=ROOT, capture_output=True, text=True,
        check=False, env={**environment(runs), **slurm, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: id_ for id_, name in (line.split() for line in done.stdout.splitlines())}


def wait_for(ready: Callable[[], bool], seconds: float, runs: Path) -> None:
    """Wait until `ready()`; shows the jobs' logs where it takes too long."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            logs = sorted((runs / "quickstart" / "slurm").glob("*.log"))
            pytest.fail("\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs))
        time.sleep(0.5)


def queue(slurm: dict[str, str]) -> list[str]:
    """A line for each job in the queue: id, state."""
    return ask(slurm, "squeue", "-h", "-r", "-o", "%F_%K %T").splitlines()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in one process, without SLURM."""
    runs = tmp_path_factory.mktemp("undisturbed")
    done = stefaland(runs, "quickstart", SETTINGS)
    assert done.returncode == 0, done.stderr
    return runs / "quickstart"


@pytest.fixture(scope="module")
def submitted(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished submission in whose course a part of an array was killed, and a training was
    warned of its wall time.
    """
    runs = tmp_path_factory.mktemp("submitted")
    ids = submit(slurm, runs)
    assert list(ids) == ["regrid", "stats", "pretrain", "finetune", "predict", "maps"]
    folder = runs / "quickstart"
    wait_for(lambda: any((folder / "ledger").glob("regrid-*/*/*.done.json")), 120, runs)
    ask(slurm, "scancel", "--signal=KILL", "--full", f"{ids['regrid']}_2")
    trained = folder / "pretrained" / "americas" / "log.jsonl"
    wait_for(lambda: trained.is_file() or not queue(slurm), 300, runs)
    ask(slurm, "scancel", "--signal=USR1", "--batch", ids["pretrain"])
    # SLURM lets a requeued job wait for two minutes; at once, the node would refuse it.
    waiting = f"{ids['pretrain']}_N/A PENDING"
    wait_for(lambda: waiting in queue(slurm), 120, runs)
    ask(slurm, "scontrol", "update", f"JobId={ids['pretrain']}", "StartTime=now+15")
    wait_for(lambda: not queue(slurm), 600, runs)
    return folder


def log(folder: Path, name: str) -> str:
    """The text of all logs of the job."""
    logs = sorted((folder / "slurm").glob(f"quickstart-{name}-*.log"))
    return "\n".join(path.read_text() for path in logs)


def test_from_submit_to_the_published_maps_with_the_bytes_of_a_local_run(
    submitted: Path, undisturbed: Path
) -> None:
    finished = {path.name.split(".")[0] for path in submitted.glob(".stages/*.finished.json")}
    assert finished == {
        "regrid", "stats", "pretrain", "finetune", "predict", "mosaic", "publish", "score", "report"
    }, log(submitted, "*")  # fmt: skip
    for part in ("cubes", "folds", "stats", "predictions", "maps"):
        expected = digests(undisturbed / part)
        found = digests(submitted / part)
        assert set(found) == set(expected)
        if part == "maps":
            expected, found = (
                {k: v for k, v in files.items() if k.endswith((".tif", ".qml"))}
                for files in (expected, found)
            )
        assert found == expected
        assert expected


def test_the_killed_part_of_an_array_was_done_by_the_next_job(submitted: Path) -> None:
    tiles = list(submitted.glob("ledger/regrid-*/*/*.done.json"))
    assert "CANCELLED AT" in log(submitted, "regrid")
    assert log(submitted, "regrid").count("to finish it") == 2
    assert "regrid  ..." in log(submitted, "stats")
    assert len(tiles) == len({path.name + path.parts[-3] for path in tiles}) > 0


def test_a_training_at_its_wall_time_goes_into_the_queue_and_continues(submitted: Path) -> None:
    text = log(submitted, "pretrain")
    assert "goes into the queue again" in text
    records = (submitted / "pretrained/americas/log.jsonl").read_text().splitlines()
    epochs = [json.loads(line)["epoch"] for line in records]
    assert epochs == sorted(set(epochs)), "an epoch was trained twice"


def test_status_names_the_jobs(submitted: Path, slurm: dict[str, str]) -> None:
    done = subprocess.run(
        [*command("", (), "status")[:-1], str(submitted)], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**environment(submitted.parent), **slurm},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = json.loads((submitted / "slurm" / "jobs.json").read_text())
    for name, id_ in jobs.items():
        assert f"job {id_} ({name}): ended" in done.stderr


def test_a_training_on_two_nodes_continues_on_one(
    submitted: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "quickstart"
    for part in ("cubes", "folds", "stats", ".stages"):
        later = shutil.ignore_patterns("[!rs]*", "report*", "score*")
        shutil.copytree(submitted / part, folder / part, ignore=later if part[0] == "." else None)
    environ = {**environment(tmp_path), **slurm, "CUDA_VISIBLE_DEVICES": "",
               "MASTER_ADDR": "127.0.0.1", "STEFALAND_PYTHON": sys.executable}  # fmt: skip
    train = command("quickstart", SETTINGS, "pretrain")[3:]

    def sbatch(nodes: int) -> str:
        """Submit the script as a user would by hand."""
        words = ["sbatch", "--parsable", f"--nodes={nodes}", "--time=5", f"--output={tmp_path}/%j",
                 "--mem=4G", "workflows/slurm/train.sbatch", *train]  # fmt: skip
        done = subprocess.run(
            words, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    job = sbatch(2)
    logs = [folder / "pretrained" / fold / "log.jsonl" for fold in ("americas", "others")]
    wait_for(lambda: logs[0].is_file() or not queue(slurm), 200, tmp_path)
    ask(slurm, "scancel", "--signal=USR1", "--batch", job)
    wait_for(lambda: queue(slurm) in ([], [f"{job}_N/A PENDING"]), 120, tmp_path)
    text = (tmp_path / job).read_text()
    assert "goes into the queue again" in text, text
    assert "Killed" not in text, "the ranks had no time to save their state"
    ask(slurm, "scancel", job)
    job = sbatch(1)
    wait_for(lambda: not queue(slurm), 200, tmp_path)
    assert (folder / ".stages/pretrain.finished.json").is_file(), (tmp_path / job).read_text()
    for log in logs:
        records = [json.loads(line) for line in log.read_text().splitlines()]
        alone = submitted / log.relative_to(folder)
        expected = [json.loads(line) for line in alone.read_text().splitlines()]
        assert [record["epoch"] for record in records] == list(range(EPOCHS))
        for mine, other in zip(records, expected, strict=True):
            assert mine["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-3)
