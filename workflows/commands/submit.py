"""stefaland submit CONFIG

The whole run as SLURM jobs that wait for each other: tiled stages as arrays that share the ledger,
trainings under torchrun, the rest on one node. Nothing of ours stays running.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from pipeline.core.errors import bad_input
from pipeline.core.files import read_json, write_json
from pipeline.core.plugins import loaded_plugins
from pipeline.execution.slurm import JobConfig, JobName, sbatch_options
from workflows.run import CONSOLE, Run
from workflows.stages.order import stage_module


@dataclass(frozen=True)
class Job:
    """One job or array: which script runs which of our commands, and after which jobs."""

    name: JobName
    script: str
    command: tuple[str, ...]
    after: dict[JobName, str]
    """Earlier jobs by name, with SLURM's kind of dependency."""


JOBS = (
    Job("regrid", "array.sbatch", ("regrid",), {}),
    # A dead node may leave tiles behind: the next job looks at the ledger and does them itself.
    Job("stats", "stage.sbatch", ("run", "--from", "regrid", "--until", "stats"),
        {"regrid": "afterany"}),
    Job("pretrain", "train.sbatch", ("pretrain",), {"stats": "afterok"}),
    Job("finetune", "train.sbatch", ("finetune",), {"pretrain": "afterok"}),
    Job("predict", "array.sbatch", ("predict",), {"finetune": "afterok"}),
    Job("maps", "stage.sbatch", ("run", "--from", "predict", "--until", "report"),
        {"finetune": "afterok", "predict": "afterany"}),
)  # fmt: skip


def jobs_folder(run: Run) -> Path:
    """Where the jobs' settings, logs and ids are kept."""
    return run.folder / "slurm"


def scripts_folder() -> Path:
    """The batch scripts that come with this package."""
    return Path(str(resources.files("workflows"))).resolve() / "slurm"


def sbatch_command(run: Run, job: Job, ids: dict[str, str]) -> list[str]:
    """The command that submits `job`, whose predecessors have the `ids`."""
    slurm = run.config.cluster.slurm
    settings = slurm.stages.get(job.name, JobConfig())
    folder = jobs_folder(run).resolve()
    words = [
        "sbatch", "--parsable", "--kill-on-invalid-dep=yes", "--export=ALL",
        f"--job-name={run.config.name}-{job.name}", *sbatch_options(slurm, settings),
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
    """Dask is for the cores of one node at most; between nodes the ledger is enough."""
    if cores == 1 or job.script == "train.sbatch":
        return ["--set", "cluster.kind=none"]
    return ["--set", "cluster.kind=local", "--set", f"cluster.workers={cores}",
            "--set", "cluster.dashboard_port=0"]  # fmt: skip


def job_environment(run: Run, job: Job) -> dict[str, str]:
    """What the batch scripts read."""
    slurm = run.config.cluster.slurm
    settings = slurm.stages.get(job.name, JobConfig())
    environment = {
        "STEFALAND_SLURM": str(scripts_folder()),
        "STEFALAND_PROLOGUE": str(jobs_folder(run).resolve() / "prologue.sh"),
        "STEFALAND_PYTHON": slurm.python or sys.executable,
    }
    if job.script == "array.sbatch":
        environment["STEFALAND_PARTS"] = str(settings.parts or slurm.parts)
    if settings.ranks_per_node:
        environment["STEFALAND_RANKS"] = str(settings.ranks_per_node)
    return environment


def _frozen_settings(run: Run) -> None:
    """Write the resolved config and the prologue: a config edited later changes no queued job."""
    folder = jobs_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    settings = run.config.model_dump(mode="json")
    if run.config.plugins:
        settings["plugins"] = list(loaded_plugins())
    text = yaml.safe_dump(settings, sort_keys=False)
    (folder / "config.yml").write_text(text)
    lines = run.config.cluster.slurm.prologue
    (folder / "prologue.sh").write_text("".join(f"{line}\n" for line in lines))


def _submitted(words: list[str], environment: dict[str, str], job: Job) -> str:
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise bad_input(
            f"sbatch of {job.name}", " ".join(done.stderr.split()) or f"exit {done.returncode}",
            "a job that SLURM takes", "See cluster.slurm in the config.",
        )  # fmt: skip
    return done.stdout.strip().split(";")[0]


def _queued(run: Run) -> str:
    """The jobs of an earlier submission that SLURM still holds, separated by commas."""
    earlier = jobs_folder(run) / "jobs.json"
    if not earlier.is_file():
        return ""
    states = job_states(list(read_json(earlier).values()))
    return ",".join(id_ for id_, state in states.items() if state != "ended")


def job_states(ids: list[str]) -> dict[str, str]:
    """The state of each job (of an array: of each kind, with counts); `ended` is out of the queue;
    empty where this machine has no SLURM.
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


def submit(run: Run, dry_run: bool = False) -> Iterator[str]:
    """Check the run here, then submit its jobs; gives a line for each.

    `InputError` for bad input, without SLURM, and where an earlier submission is still queued.
    """
    stage_module("check").main(run)
    if not dry_run:
        if shutil.which("sbatch") is None:
            expected, cure = "a login node of a SLURM cluster", "See the commands with --dry-run."
            raise bad_input("submit", "no sbatch on this machine", expected, cure)
        if queued := _queued(run):
            raise bad_input(str(run.folder), f"jobs {queued}, still in the queue", "one submission",
                            f"Wait, or run `scancel {queued.replace(',', ' ')}`.")  # fmt: skip
        _frozen_settings(run)
    ids: dict[str, str] = {}
    for job in JOBS:
        if dry_run:
            ids[job.name] = f"<{job.name}>"
            variables = [f"{k}={shlex.quote(v)}" for k, v in job_environment(run, job).items()]
            yield " ".join([*variables, shlex.join(sbatch_command(run, job, ids))])
            continue
        ids[job.name] = _submitted(sbatch_command(run, job, ids), job_environment(run, job), job)
        write_json(jobs_folder(run) / "jobs.json", ids)
        yield f"{ids[job.name]:>9}  {job.name}"
    if not dry_run:
        CONSOLE.print(f"logs in {jobs_folder(run)}; `stefaland status {run.folder}` says how far")
