"""The batch scripts of dask-jobqueue, which hold accounts: readable by their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.execution.cluster import _slurm_cluster_class, slurm_settings
from pipeline.execution.slurm import SlurmConfig


def test_a_batch_script_is_private_and_gone_after_its_submission() -> None:
    settings = SlurmConfig(account="hydro42", queue="main", prologue=("export KEY=x",))
    made = _slurm_cluster_class().job_cls("tcp://127.0.0.1:1", name="w", **slurm_settings(settings))
    before = os.umask(0o000)
    try:
        with made.job_file() as name:
            text = Path(name).read_text()
            mode = stat.S_IMODE(Path(name).stat().st_mode)
    finally:
        os.umask(before)
    assert mode == 0o600
    assert text == made.job_script()
    assert "-A hydro42" in text
    assert "export KEY=x" in text
    assert not Path(name).exists()
