"""The commands that SLURM is given: a run's name, its site's settings and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.execution.slurm import JobConfig, SlurmConfig
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.commands.submit import JOBS, Submission, job_environment, sbatch_command

SLURM = SlurmConfig(
    account="hydro42", parts=5, stages={"predict": JobConfig(parts=2), "maps": JobConfig(cores=1)}
)


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    return Submission("mine", SLURM, tmp_path / "slurm")


def test_jobs_wait_for_those_that_they_need(submission: Submission) -> None:
    ids = {job.name: str(i) for i, job in enumerate(JOBS)}
    words = {job.name: sbatch_command(submission, job, ids) for job in JOBS}
    assert not any("--dependency" in word for word in words["regrid"])
    assert "--dependency=afterany:0" in words["stats"]
    assert "--dependency=afterok:3,afterany:4" in words["maps"]
    for name, command in words.items():
        assert f"--job-name=mine-{name}" in command
        assert str((submission.folder / "config.yml").resolve()) in command


def test_a_job_has_its_own_settings_or_those_of_the_rest(submission: Submission) -> None:
    jobs = {job.name: job for job in JOBS}
    assert "--array=1-5" in sbatch_command(submission, jobs["regrid"], {})
    predict = sbatch_command(submission, jobs["predict"], {"finetune": "1"})
    assert "--array=1-2" in predict
    assert job_environment(submission, jobs["predict"])["STEFALAND_PARTS"] == "2"
    maps = sbatch_command(submission, jobs["maps"], {"finetune": "1", "predict": "2"})
    assert maps[-2:] == ["--set", "cluster.kind=none"]
    assert f"cluster.workers={SLURM.cores}" in sbatch_command(submission, jobs["regrid"], {})


def test_a_dry_run_prints_every_command_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main(["submit", config, "--dry-run"])
    assert not stopped.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(JOBS)
    assert all("sbatch --parsable" in line for line in lines)
    assert "--dependency=afterok:<finetune>,afterany:<predict>" in lines[-1].replace("'", "")
    assert not (tmp_path / "runs" / "tiny" / "slurm").exists()
