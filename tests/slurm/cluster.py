"""A real SLURM on this machine for the tests: munged, slurmctld and a slurmd for each fake node.

python -m tests.slurm.cluster FOLDER    starts it, prints `export SLURM_CONF=...`, waits for Ctrl-C
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NODES = 2
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
START_SECONDS = 60.0

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1,kill_invalid_depend
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MinJobAge=300
OverTimeLimit=0
{nodes}
PartitionName=debug Nodes=node[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName=node{i} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=4 RealMemory=16000"


def missing_programs() -> list[str]:
    """What a test cluster needs and this machine has not."""
    found = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in NEEDED if shutil.which(name, path=found) is None]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_config(folder: Path) -> Path:
    """The cluster's folders and its slurm.conf."""
    ports = _free_ports(1 + NODES)
    host = socket.gethostname().split(".")[0]
    (folder / "state").mkdir(parents=True)
    for i in range(1, NODES + 1):
        (folder / f"spool-node{i}").mkdir()
    nodes = "\n".join(NODE.format(i=i, host=host, port=ports[i]) for i in range(1, NODES + 1))
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(folder=folder, user=getpass.getuser(), port=ports[0], nodes=nodes,
                      host=host, count=NODES)
    )  # fmt: skip
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    return config


def _spawn(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / f"{name}{'-'.join(arguments[-1:])[-6:].replace('/', '_')}.out").open(
        "wb"
    ) as out:
        return subprocess.Popen(
            [program, *arguments], env=environment, stdout=out, stderr=subprocess.STDOUT
        )


def _start(folder: Path) -> list[subprocess.Popen[bytes]]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    daemons = [
        _spawn(
            folder, "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        )
    ]  # fmt: skip
    _wait_for((folder / "munge.socket").exists, "munged", folder)
    daemons.append(_spawn(folder, "slurmctld", "-D", "-i"))
    daemons += [_spawn(folder, "slurmd", "-D", "-N", f"node{i}") for i in range(1, NODES + 1)]
    return daemons


def _wait_for(ready: object, what: str, folder: Path) -> None:
    assert callable(ready)
    end = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > end:
            logs = {path.name: path.read_text(errors="replace")[-2000:] for path in
                    [*folder.glob("*.log"), *folder.glob("*.out")]}  # fmt: skip
            raise RuntimeError(f"{what} did not start: {logs}")
        time.sleep(0.2)


def _idle_nodes(folder: Path) -> int:
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False,
        env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
    )  # fmt: skip
    return sum(line.strip() in ("idle", "mixed", "allocated") for line in done.stdout.splitlines())


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A running cluster of `NODES` nodes; returns the environment that its commands need."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    config = write_config(folder)
    daemons = _start(folder)
    try:
        _wait_for(lambda: _idle_nodes(folder) == NODES, "the nodes", folder)
        yield {"SLURM_CONF": str(config)}
    finally:
        subprocess.run(
            ["scancel", "-u", getpass.getuser()], check=False, capture_output=True,
            env={**os.environ, "SLURM_CONF": str(config)}, timeout=30,
        )  # fmt: skip
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()


if __name__ == "__main__":
    with slurm_cluster(Path(sys.argv[1]).resolve()) as variables:
        for name, value in variables.items():
            print(f"export {name}={value}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ending", file=sys.stderr)
