"""Clusters on which tiles are run: this process, local processes, SLURM, or a running scheduler.

`connect` yields the executor for `run.run_stage`. Schedulers and workers that it starts accept
only processes with the run's own certificates (TLS), because a scheduler runs any code sent to it.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AllowInfNan, Field, field_validator, model_validator

from pipeline.core.errors import bad_input
from pipeline.core.plugins import load_plugins, loaded_plugins
from pipeline.core.settings import Frozen, later
from pipeline.core.written.logs import public_logs
from pipeline.core.written.references import add_environment_values, environment_values
from pipeline.execution.certificates import temporary_certificates
from pipeline.execution.dask import OnCluster
from pipeline.execution.executor import HERE, Executor
from pipeline.execution.progress import is_hidden
from pipeline.execution.slurm import SlurmConfig, slurm_settings

if TYPE_CHECKING:
    from distributed import Client

LOG = logging.getLogger(__name__)
CLOSE_SECONDS = 5
"""Time that workers have to end before they are killed."""
CONNECT_SECONDS = 15
"""Time that a running scheduler has to answer."""


class ClusterConfig(Frozen):
    """The `cluster:` section: `local` processes, `slurm`, a scheduler's `address`, or `none`."""

    kind: Literal["local", "slurm", "address", "none"] = "local"
    workers: int | None = Field(None, gt=0, le=1024)
    """Number of local processes; by default one per core."""
    threads_per_worker: int = Field(1, gt=0, le=4)
    memory_per_worker: str = "auto"
    """Memory limit such as `4GiB`; a worker above it is restarted. `auto`: a part of all memory."""
    task_seconds: Annotated[float, AllowInfNan(True)] | None = later(7200.0)
    """Longest time of a tile in seconds, after which it is given up and the file that it was
    reading is named, as of a server that does not answer; null is no limit."""
    address: str | None = None
    """Address of a scheduler that runs already, such as `tls://10.0.0.1:8786`, whose certificates
    are those of Dask's own configuration; anyone who reaches one at `tcp://` runs code as you."""
    dashboard_port: int = Field(8787, ge=0, le=65535)
    """Port of the dashboard on the loopback interface of the machine that starts the cluster."""
    slurm: SlurmConfig = SlurmConfig()

    @field_validator("task_seconds")
    @classmethod
    def _check_seconds(cls, seconds: float | None) -> float | None:
        if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"{seconds:g} seconds. Set a number above 0, or null for no limit")
        return seconds

    @model_validator(mode="after")
    def _check_address(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("kind `address` requires an address, and no other kind takes one")
        return self


def worker_memory(config: ClusterConfig) -> int:
    """Bytes that one worker may use."""
    import psutil
    from dask.utils import parse_bytes

    if config.kind == "slurm":
        return int(parse_bytes(config.slurm.memory)) // config.slurm.processes
    if config.memory_per_worker != "auto":
        return _parsed_memory(config)
    workers = 1 if config.kind == "none" else worker_count(config)
    return int(psutil.virtual_memory().total) // workers


def worker_count(config: ClusterConfig) -> int:
    """Largest number of worker processes of the configured cluster."""
    from dask.system import CPU_COUNT

    if config.kind == "slurm":
        return config.slurm.processes * config.slurm.jobs
    return 1 if config.kind == "none" else config.workers or int(CPU_COUNT)


def _parsed_memory(config: ClusterConfig) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(config.memory_per_worker))
    except ValueError:
        raise bad_input(
            "cluster.memory_per_worker", f'"{config.memory_per_worker}"', "a size such as 4GiB"
        ) from None


@contextmanager
def connect(config: ClusterConfig, folder: Path | None = None) -> Iterator[Executor]:
    """The executor of the configured cluster, whose workers end on exit; `Here` for `none`.

    Workers on other nodes read their certificates from `folder`, which they share (by default the
    working folder) and from which they are removed on exit. `InputError` where the scheduler does
    not answer or the cluster's settings cannot be used.
    """
    if config.kind == "none":
        yield HERE
        return
    from distributed import Client

    if config.memory_per_worker != "auto":
        _parsed_memory(config)
    if config.kind == "address":
        with _existing(config, Client) as client:
            yield OnCluster(client)
        return
    make, shared = _local, None
    if config.kind == "slurm":
        _check_sbatch()
        make, shared = _slurm, folder or Path.cwd()
    with temporary_certificates(shared) as security, _without_main_import():
        cluster = make(config, security)
        client = Client(cluster)
        try:
            if config.kind == "local":
                client.register_plugin(_interrupt_shield())
            _prepare(client)
            _announce(client)
            yield OnCluster(client)
        finally:
            _close(client, cluster)


@contextmanager
def _existing(config: ClusterConfig, make: Any) -> Iterator[Client]:
    from dask import config as dask_config

    usual = dask_config.get("scheduler", None)
    if not str(config.address).startswith("tls://"):
        LOG.warning("%s has no certificates: all who reach it run code as you", config.address)
    try:
        client = make(config.address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        # A client is Dask's scheduler from its start, also one that does not connect.
        dask_config.set(scheduler=usual)
        raise bad_input(
            "cluster.address",
            f"no scheduler at {config.address} that accepts this process ({type(error).__name__})",
            "the address of a running Dask scheduler, such as tls://10.0.0.1:8786",
            "Name its certificates in Dask's configuration (distributed.comm.tls).",
        ) from None
    try:
        _prepare(client)
        _announce(client)
        yield client
    finally:
        # Workers and scheduler are left running; a scheduler that has died is ignored.
        _close(client, None)


def _local(config: ClusterConfig, security: Any) -> Any:
    from dask import config as dask_config
    from distributed import LocalCluster

    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.scheduler.allowed-failures": 1,
    }
    with dask_config.set(settings):
        return LocalCluster(
            n_workers=worker_count(config),
            threads_per_worker=config.threads_per_worker,
            memory_limit=config.memory_per_worker,
            processes=True,
            host="127.0.0.1",
            security=security,
            dashboard_address=f"127.0.0.1:{_free_port(config.dashboard_port)}",
            silence_logs=logging.ERROR,
        )


def _interrupt_shield() -> Any:
    """Plugin by which workers in the same terminal ignore Ctrl-C; the main process ends them."""
    from distributed import WorkerPlugin

    class InterruptShield(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return InterruptShield()


def _prepare(client: Client) -> None:
    """Let all present and future workers log as this process does, and load its plugins."""
    from distributed import WorkerPlugin

    class PublicLogs(WorkerPlugin):
        def __init__(self, values: dict[str, str]) -> None:
            self.values = values

        def setup(self, worker: Any) -> None:
            add_environment_values(self.values)
            public_logs()

    client.register_plugin(PublicLogs(environment_values()), name="public-logs")
    if loaded_plugins():
        client.register_worker_callbacks(partial(load_plugins, loaded_plugins(), Path("/")))


def _free_port(port: int) -> int:
    """The port `port`, or 0 (any) where another process uses it."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _check_sbatch() -> None:
    import shutil

    if shutil.which("sbatch") is None:
        raise bad_input(
            "cluster.kind",
            "slurm, and no sbatch on this machine",
            "a login node of a SLURM cluster",
            "Use --set cluster.kind=local here.",
        )


def _slurm(config: ClusterConfig, security: Any) -> Any:
    cluster = _slurm_cluster_class()(
        **slurm_settings(config.slurm),
        security=security,
        scheduler_options={"dashboard_address": f"127.0.0.1:{_free_port(config.dashboard_port)}"},
    )
    cluster.adapt(minimum_jobs=config.slurm.minimum_jobs, maximum_jobs=config.slurm.jobs)
    return cluster


def _slurm_cluster_class() -> Any:
    """A cluster of dask-jobqueue, whose import replaces the handler of Ctrl-C: it is restored.

    Its batch scripts, which hold accounts and the prologue, are readable by their owner alone.
    """
    before = signal.getsignal(signal.SIGINT)
    from dask_jobqueue import slurm

    class PrivateJob(slurm.SLURMJob):
        @contextmanager
        def job_file(self) -> Iterator[str]:
            with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
                file.write(self.job_script())
                file.flush()
                yield file.name

    class SLURMCluster(slurm.SLURMCluster):
        job_cls = PrivateJob

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)
    return SLURMCluster


def _announce(client: Client) -> None:
    LOG.info("dashboard at %s", client.dashboard_link)
    if not is_hidden():
        print(f"dashboard {client.dashboard_link}", file=sys.stderr)


def _close(client: Client, cluster: Any) -> None:
    """End the workers; with a shorter timeout where the run was interrupted."""
    seconds = 1 if sys.exc_info()[0] is not None else CLOSE_SECONDS
    ending = threading.Thread(target=_close_quietly, args=(client, cluster, seconds), daemon=True)
    ending.start()
    ending.join(2 * CLOSE_SECONDS)


def _close_quietly(client: Client, cluster: Any, seconds: float) -> None:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client.close(timeout=seconds)
        if cluster is not None:
            cluster.close(timeout=seconds)
    except (OSError, TimeoutError, RuntimeError) as error:
        LOG.debug("cluster did not close cleanly: %s", error)


@contextmanager
def _without_main_import() -> Iterator[None]:
    """Keep spawned workers from importing the main script, which pickled work does not need.

    Otherwise a script without `if __name__ == "__main__"` would start a cluster in every worker.
    """
    main = sys.modules["__main__"]
    kept = {key: getattr(main, key) for key in ("__file__", "__spec__") if hasattr(main, key)}
    for key in kept:
        setattr(main, key, None)
    if "__file__" in kept:
        del main.__file__
    try:
        yield
    finally:
        for key, value in kept.items():
            setattr(main, key, value)
