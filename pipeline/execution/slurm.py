"""Settings of SLURM jobs: those of Dask workers (`cluster`) and those of `stefaland submit`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.core.settings import Frozen

CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters and ends of lines, by which a setting would become a further line."""


def _text(pattern: str, expected: str) -> Any:
    """Type of a text in the header of a batch script; `expected` describes the pattern."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("slurm", expected)
        return text

    return AfterValidator(check)


Name = Annotated[str, _text(r"\w[\w.,:@+%-]*", "a name without spaces, such as normal")]
"""Name of a partition, account or network interface, or several separated by commas."""
Line = Annotated[str, _text(f"[^{CONTROLS}]+", "one line without control characters")]
Directive = Annotated[
    str, _text(f"--?[A-Za-z][^{CONTROLS}]*", "one option of sbatch, such as --constraint=haswell")
]
WALLTIME = r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$"
WARNING_SECONDS = 180
"""Largest time before the wall time at which a job is signalled to save its work."""
JobName = Literal["regrid", "stats", "pretrain", "finetune", "predict", "maps"]


def walltime_seconds(walltime: str) -> int:
    """Number of seconds of `[days-]hours:minutes:seconds`."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class JobConfig(Frozen):
    """Settings of the jobs of one stage; by default those of `cluster.slurm`."""

    queue: Name | None = None
    account: Name | None = None
    walltime: str | None = Field(None, pattern=WALLTIME)
    cores: int | None = Field(None, gt=0, le=4096)
    memory: Line | None = None
    parts: int | None = Field(None, gt=0, le=10_000)
    nodes: int = Field(1, gt=0, le=10_000)
    gpus_per_node: int = Field(0, ge=0, le=64)
    ranks_per_node: int | None = Field(None, gt=0, le=1024)
    """Training processes per node; by default one per GPU, or one."""
    directives: tuple[Directive, ...] = ()


class SlurmConfig(Frozen):
    """Settings of worker jobs for a SLURM site (names of dask-jobqueue in brackets)."""

    queue: Name | None = None
    account: Name | None = None
    walltime: str = Field("04:00:00", pattern=WALLTIME)
    cores: int = Field(8, gt=0, le=4096)
    processes: int = Field(8, gt=0, le=1024)
    """Number of workers of one job."""
    memory: Line = "32GiB"
    """Memory of one job, shared by its workers."""
    jobs: int = Field(1, gt=0, le=10_000)
    """Largest number of jobs; jobs are started and ended as the work requires."""
    minimum_jobs: int = Field(1, ge=0, le=10_000)
    directives: tuple[Directive, ...] = ()
    """Further #SBATCH lines, such as `--constraint=haswell` [job_extra_directives]."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts, such as `module load ...` [job_script_prologue]."""
    scratch: Line | None = None
    """Folder on a local disk of the node for spilled data [local_directory]."""
    interface: Name | None = None
    python: Line | None = None
    """Command that runs Python in a job, such as `apptainer exec --nv stefaland.sif python`; by
    default the Python that submits [`stefaland submit`]."""
    parts: int = Field(8, gt=0, le=10_000)
    """Number of jobs of the array into which a tiled stage is split [`stefaland submit`]."""
    stages: dict[JobName, JobConfig] = Field(default_factory=dict)
    """Settings of the jobs of single stages [`stefaland submit`]."""

    @property
    def seconds(self) -> int:
        """Wall time in seconds."""
        return walltime_seconds(self.walltime)

    @property
    def lifetime(self) -> list[str]:
        """Worker arguments that end a worker between tasks before the wall time."""
        stagger = max(10, self.seconds // 20)
        lifetime = max(30, self.seconds - 2 * stagger)
        return ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]


def slurm_settings(slurm: SlurmConfig) -> dict[str, Any]:
    """Arguments of dask-jobqueue's `SLURMCluster`."""
    return {
        "queue": slurm.queue,
        "account": slurm.account,
        "walltime": slurm.walltime,
        "cores": slurm.cores,
        "processes": slurm.processes,
        "memory": slurm.memory,
        "job_extra_directives": list(slurm.directives),
        "job_script_prologue": list(slurm.prologue),
        "local_directory": slurm.scratch,
        "interface": slurm.interface,
        "worker_extra_args": [*slurm.lifetime, "--dashboard-address", "127.0.0.1:0"],
    }


def sbatch_options(slurm: SlurmConfig, job: JobConfig) -> list[str]:
    """Options of `sbatch` for one job: its own settings over the site's."""
    from dask.utils import parse_bytes

    walltime = job.walltime or slurm.walltime
    warning = min(WARNING_SECONDS, walltime_seconds(walltime) // 4)
    memory = int(parse_bytes(job.memory or slurm.memory)) // 2**20
    options = [
        f"--time={walltime}",
        f"--signal=B:USR1@{warning}",
        f"--nodes={job.nodes}",
        f"--cpus-per-task={job.cores or slurm.cores}",
        f"--mem={memory}M",
    ]
    if queue := job.queue or slurm.queue:
        options.append(f"--partition={queue}")
    if account := job.account or slurm.account:
        options.append(f"--account={account}")
    if job.gpus_per_node:
        options.append(f"--gpus-per-node={job.gpus_per_node}")
    return [*options, *slurm.directives, *job.directives]
