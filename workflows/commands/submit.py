"""Submission of a whole run as dependent SLURM jobs: `stefaland submit CONFIG`.

Tiled stages are arrays that share the ledger, trainings run under torchrun, the rest on one node.
No process of this package has to stay alive between the jobs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from pipeline.core.errors import bad_input
from pipeline.core.files import make_folder, read_json, write_json, write_text
from pipeline.core.plugins import loaded_plugins
from pipeline.core.written.references import as_written
from pipeline.execution.slurm import JobConfig, JobName, SlurmConfig, sbatch_options
from workflows.config.schema import RunConfig
from workflows.console import REPORT
from workflows.run import Run
from workflows.stages.markers import run_lock
from workflows.stages.order import prepare, stage_module


@dataclass(frozen=True)
class Job:
    """One SLURM job or array: its batch script, its `stefaland` command and its predecessors."""

    name: JobName
    script: str
    command: tuple[str, ...]
    after: dict[JobName, str]
    """Earlier jobs by name, with SLURM's kind of dependency."""


JOBS = (
    Job("regrid", "array.sbatch", ("regrid",), {}),
    # A node that fails leaves tiles undone: the next job finds them by the ledger and does them.
    Job("stats", "stage.sbatch", ("run", "--from", "regrid", "--until", "stats"),
        {"regrid": "afterany"}),
    Job("pretrain", "train.sbatch", ("pretrain",), {"stats": "afterok"}),
    Job("finetune", "train.sbatch", ("finetune",), {"pretrain": "afterok"}),
    Job("predict", "array.sbatch", ("predict",), {"finetune": "afterok"}),
    Job("maps", "stage.sbatch", ("run", "--from", "predict", "--until", "report"),
        {"finetune": "afterok", "predict": "afterany"}),
)  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """A submission: the run's name, the settings of the cluster, and a folder.

    The folder holds the settings, logs and ids of the jobs.
    """

    name: str
    slurm: SlurmConfig
    folder: Path

    def settings(self, job: Job) -> JobConfig:
        """The settings that differ for this job from those of the other jobs."""
        return self.slurm.stages.get(job.name, JobConfig())


def scripts_folder() -> Path:
    """Folder of the batch scripts of this package."""
    return Path(str(resources.files("workflows"))).resolve() / "slurm"


def sbatch_command(submission: Submission, job: Job, ids: Mapping[str, str]) -> list[str]:
    """The command that submits `job`, whose predecessors have the `ids`."""
    slurm, settings = submission.slurm, submission.settings(job)
    folder = submission.folder.resolve()
    words = [
        "sbatch", "--parsable", "--kill-on-invalid-dep=yes", "--export=ALL",
        f"--job-name={submission.name}-{job.name}", *sbatch_options(slurm, settings),
    ]  # fmt: skip
    if job.script == "array.sbatch":
        words += [f"--array=1-{settings.parts or slurm.parts}", f"--output={folder}/%x-%A_%a.log"]
    else:
        words.append(f"--output={folder}/%x-%j.log")
    if job.after:
        waits = [f"{kind}:{ids[name]}" for name, kind in job.after.items()]
        words.append(f"--dependency={','.join(waits)}")
    command, *options = job.command
    return [
        *words, str(scripts_folder() / job.script), command, str(folder / "config.yml"), *options,
        *_workers(job, settings.cores or slurm.cores),
    ]  # fmt: skip


def _workers(job: Job, cores: int) -> list[str]:
    """Settings of Dask: it uses the cores of one node at most; nodes share work by the ledger."""
    if cores == 1 or job.script == "train.sbatch":
        return ["--set", "cluster.kind=none"]
    return ["--set", "cluster.kind=local", "--set", f"cluster.workers={cores}",
            "--set", "cluster.dashboard_port=0"]  # fmt: skip


def job_environment(submission: Submission, job: Job) -> dict[str, str]:
    """Environment variables that the batch scripts read."""
    slurm, settings = submission.slurm, submission.settings(job)
    environment = {
        "STEFALAND_SLURM": str(scripts_folder()),
        "STEFALAND_PROLOGUE": str(submission.folder.resolve() / "prologue.sh"),
        "STEFALAND_PYTHON": slurm.python or sys.executable,
    }
    if job.script == "array.sbatch":
        environment["STEFALAND_PARTS"] = str(settings.parts or slurm.parts)
    if settings.ranks_per_node:
        environment["STEFALAND_RANKS"] = str(settings.ranks_per_node)
    return environment


def freeze_settings(config: RunConfig, folder: Path) -> None:
    """Write the resolved config and the prologue, so that later edits change no queued job.

    Values of the environment stay references: jobs have the environment of their submission. Nobody
    else may read the folder, because jobs log there.
    """
    settings = as_written(config.written(), folders=False)
    if config.plugins:
        settings["plugins"] = list(loaded_plugins())
    make_folder(folder)
    folder.chmod(0o700)
    lines = settings["cluster"]["slurm"]["prologue"]
    write_text(folder / "config.yml", yaml.safe_dump(settings, sort_keys=False), private=True)
    write_text(folder / "prologue.sh", "".join(f"{line}\n" for line in lines), private=True)


def _submitted(words: list[str], environment: dict[str, str], job: Job) -> str:
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise bad_input(
            f"sbatch of {job.name}", " ".join(done.stderr.split()) or f"exit {done.returncode}",
            "a job that SLURM accepts", "See cluster.slurm in the config.",
        )  # fmt: skip
    return done.stdout.strip().split(";")[0]


def _queued(folder: Path) -> str:
    """The jobs of an earlier submission that SLURM still holds, separated by commas."""
    earlier = folder / "jobs.json"
    if not earlier.is_file():
        return ""
    states = job_states(list(read_json(earlier).values()))
    return ",".join(id_ for id_, state in states.items() if state != "ended")


def job_states(ids: list[str]) -> dict[str, str]:
    """The state of each job by id; `ended` where it is no longer in the queue.

    An array has the count of each of its states. Empty where this machine has no SLURM.
    """
    if shutil.which("squeue") is None:
        return {}
    done = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%F %T"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {}
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        id_, state = line.split()
        found.setdefault(id_, []).append(state)
    return {
        id_: ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states)))
        if (states := found.get(id_, []))
        else "ended"
        for id_ in ids
    }


def submit(run: Run, dry_run: bool = False, upgrade: bool = False) -> Iterator[str]:
    """Check the run on this machine, then submit its jobs; yields a line for each.

    Raises `InputError` for bad input, without SLURM, while an earlier submission is queued, and for
    outputs of another version, unless `upgrade` allows to make them again.
    """
    stage_module("check").main(run)
    folder = run.folder / "slurm"
    submission = Submission(run.config.name, run.config.cluster.slurm, folder)
    if dry_run:
        yield from _shown_commands(submission)
        return
    if shutil.which("sbatch") is None:
        expected, hint = "a login node of a SLURM cluster", "See the commands with --dry-run."
        raise bad_input("submit", "no sbatch on this machine", expected, hint)
    if queued := _queued(folder):
        raise bad_input(str(run.folder), f"jobs {queued}, still in the queue", "one submission",
                        f"Wait, or run `scancel {queued.replace(',', ' ')}`.")  # fmt: skip
    with run_lock(run.folder):
        prepare(run, JOBS[0].name, upgrade)
    freeze_settings(run.config, folder)
    yield from _submit_jobs(submission)
    REPORT.print(f"logs in {folder}; `stefaland status {run.folder}` shows their progress")


def _shown_commands(submission: Submission) -> Iterator[str]:
    """The command of each job, with placeholders for the ids that SLURM would return."""
    ids: dict[str, str] = {}
    for job in JOBS:
        ids[job.name] = f"<{job.name}>"
        variables = [f"{k}={shlex.quote(v)}" for k, v in job_environment(submission, job).items()]
        yield " ".join([*variables, shlex.join(sbatch_command(submission, job, ids))])


def _submit_jobs(submission: Submission) -> Iterator[str]:
    """Submit every job and record its id; yields id and name."""
    ids: dict[str, str] = {}
    for job in JOBS:
        words = sbatch_command(submission, job, ids)
        ids[job.name] = _submitted(words, job_environment(submission, job), job)
        write_json(submission.folder / "jobs.json", ids)
        yield f"{ids[job.name]:>9}  {job.name}"
