"""Attacks on the scheduler and workers of a run by other users of the machine."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from distributed import Client, Security
from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.dask import OnCluster
from pipeline.execution.slurm import JobConfig, SlurmConfig


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(ClusterConfig(workers=1, dashboard_port=0)) as executor:
        assert isinstance(executor, OnCluster)
        yield executor.client


def test_everything_listens_on_the_loopback_interface_alone(client: Client) -> None:
    own = psutil.Process()
    listening = [
        connection.laddr.ip
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 4  # scheduler, its dashboard, nanny and worker
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("protocol", ["tls", "tcp"])
@pytest.mark.parametrize("certificates", [None, Security.temporary()], ids=["none", "of its own"])
def test_a_client_without_the_certificates_of_the_run_cannot_connect(
    client: Client, protocol: str, certificates: Security | None
) -> None:
    host = client.scheduler.address.removeprefix("tls://")
    with pytest.raises((OSError, TypeError, RuntimeError)):
        Client(f"{protocol}://{host}", timeout=1, security=certificates, set_as_default=False)
    assert client.submit(sum, [1, 2], pure=False).result() == 3


def test_no_process_of_the_cluster_answers_without_tls(client: Client) -> None:
    (worker,) = client.scheduler_info()["workers"].values()
    for address in (client.scheduler.address, worker["nanny"], *client.nthreads()):
        assert address.startswith("tls://127.0.0.1:")
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as attack:
            attack.settimeout(10)
            attack.sendall(b"\x01" + b"\x00" * 63)
            # A TLS server answers with an alert (21) or ends the connection; it sends no message.
            with suppress(ConnectionResetError):
                assert attack.recv(100)[:1] in (b"", b"\x15")


def test_workers_of_slurm_have_certificates_in_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_sbatch(tmp_path, monkeypatch)
    slurm = SlurmConfig(cores=1, processes=1, memory="1GiB", minimum_jobs=0, interface="lo")
    run = tmp_path / "run"
    with connect(ClusterConfig(kind="slurm", dashboard_port=0, slurm=slurm), run) as executor:
        assert isinstance(executor, OnCluster)
        cluster = executor.client.cluster
        assert cluster.scheduler_address.startswith("tls://")
        assert executor.client.dashboard_link.startswith("http://127.0.0.1:")
        words = cluster.job_script().split()
        assert words[words.index("--dashboard-address") + 1] == "127.0.0.1:0"
        for option in ("--tls-ca-file", "--tls-cert", "--tls-key"):
            file = Path(words[words.index(option) + 1])
            assert file.is_relative_to(run)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        with pytest.raises((OSError, TypeError, RuntimeError)):
            Client(cluster.scheduler_address, timeout=1, set_as_default=False)
    assert not [*run.iterdir()]


def test_a_run_folder_that_a_shell_would_read_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_sbatch(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="path without spaces"):  # noqa: SIM117
        with connect(ClusterConfig(kind="slurm"), tmp_path / "a; touch b"):
            pass


def _fake_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Submitted batch job 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_certificates_of_a_killed_run_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_sbatch(tmp_path, monkeypatch)
    with subprocess.Popen(["true"]) as ended:
        pass
    host = socket.gethostname().replace(".", "_")
    left = tmp_path / f".certificates.{host}.{ended.pid}.0.partial"
    left.mkdir()
    (left / "key").touch()
    slurm = SlurmConfig(cores=1, processes=1, memory="1GiB", minimum_jobs=0, interface="lo")
    with connect(ClusterConfig(kind="slurm", dashboard_port=0, slurm=slurm), tmp_path):
        assert not left.exists()


INJECTIONS = ["a\n#SBATCH --wrap=id", "a\r#SBATCH -o x", "a\u2028b", "a\x1b[2J", "a\x85b", ""]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("key", ["queue", "account", "interface", "memory", "scratch", "python"])
def test_no_setting_of_slurm_adds_a_line(key: str, text: str) -> None:
    with pytest.raises(ValidationError):
        SlurmConfig.model_validate({key: text})


@pytest.mark.parametrize("text", [*INJECTIONS, "-q=high\n--wrap=id", "--a\n", "id", "a b"])
def test_directives_are_single_options(text: str) -> None:
    for model in (SlurmConfig, JobConfig):
        with pytest.raises(ValidationError):
            model.model_validate({"directives": [text]})


@pytest.mark.parametrize("name", ["a --wrap=id", "--wrap", "a;id", "$(id)", "a#b"])
def test_names_of_partitions_and_accounts_are_names(name: str) -> None:
    for model in (SlurmConfig, JobConfig):
        for key in ("queue", "account"):
            with pytest.raises(ValidationError):
                model.model_validate({key: name})


def test_usual_settings_of_slurm_are_accepted() -> None:
    SlurmConfig.model_validate(
        {"queue": "normal,long", "account": "hydro_42.x", "scratch": "/scratch/$USER/my runs",
         "directives": ["--qos=high", "-C haswell|skylake", '--comment="ice & snow"'],
         "python": "apptainer exec --nv stefaland.sif python", "interface": "ib0"}
    )  # fmt: skip
