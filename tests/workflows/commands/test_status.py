"""`status` of a run whose logs and lists were damaged: what is whole, or a clear error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from workflows.commands.status import jobs, run_status


def test_the_last_whole_line_of_a_log_counts(tmp_path: Path) -> None:
    (tmp_path / ".stages").mkdir()
    log = tmp_path / "pretrained" / "all" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(b'{"epoch": 2, "loss": 0.5}\n[]\n\xff\n' + b"[" * 5000 + b"\n")
    (training,) = run_status(tmp_path)["trainings"]
    assert (training["epoch"], training["loss"]) == (2, 0.5)
    log.write_text('{"epoch": Infinity, "loss": "low"}\n')
    (training,) = run_status(tmp_path)["trainings"]
    assert (training["epoch"], training["loss"]) == (0, None)


def test_the_ids_of_jobs_are_texts_by_name(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.json").write_text('{"regrid": 12}')
    assert jobs(tmp_path)[0]["id"] == "12"
    (tmp_path / "slurm" / "jobs.json").write_text("[]")
    with pytest.raises(InputError, match=r"jobs\.json"):
        jobs(tmp_path)


def test_a_status_does_not_wait_for_torch() -> None:
    code = "import sys, workflows.commands.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
