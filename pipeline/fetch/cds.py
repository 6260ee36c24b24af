"""Jobs of a Climate Data Store: submitted, waited for, and their results fetched.

The API since 2024 is that of OGC API Processes: POST …/processes/DATASET/execution, GET …/jobs/ID,
GET …/jobs/ID/results. The job's id lies beside the file, so that an interrupted fetch waits for the
same job and does not queue again.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from pipeline.core.errors import Fault, bad_input
from pipeline.core.files import write_text
from pipeline.core.transfers import NoAccessError, refused
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.core.web import linked
from pipeline.fetch.client import Client, field_of, problem
from pipeline.fetch.credentials import CDS_HINT
from pipeline.fetch.manifest import Record
from pipeline.fetch.order import RemoteFile
from pipeline.fetch.transfer import transfer

FIRST_WAIT, LONGEST_WAIT, GROWTH = 1.0, 60.0, 1.5
"""Seconds between two questions for the state of a job, and the factor by which they grow."""
WAITING = ("accepted", "running")


def transfer_result(client: Client, file: RemoteFile, folder: Path) -> Record:
    """Fetch the result of the job that makes a file, and return its record.

    Raises `InputError` if the job is refused or fails, with what the store says.
    """
    note = file.partial.with_suffix(".job")
    for _ in range(2):
        job = _noted(note, file) or _submitted(client, file, note)
        try:
            _wait(client, file, job)
            href, size = _result(client, file, job)
        except FileNotFoundError:
            # Jobs expire after some time: the next one begins anew.
            note.unlink(missing_ok=True)
            continue
        except Exception:
            if not client.stopped.is_set():
                note.unlink(missing_ok=True)
            raise
        found = transfer(client, replace(file, address=href, login="none", size=size), folder)
        note.unlink(missing_ok=True)
        return replace(found, address=file.shown, origin=file.origin)
    raise bad_input(file.shown, "a job that the store forgets", "its result", "Run again later.")


def _noted(note: Path, file: RemoteFile) -> str | None:
    """Return the address of the job that was submitted for the same request before."""
    try:
        found = parse_json(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("origin") != file.origin:
        return None
    job = found.get("job")
    # The address of a job of this store: others are not asked with its key.
    fits = isinstance(job, str) and re.fullmatch(re.escape(_jobs(file)) + r"[\w.-]+", job)
    return str(job) if fits else None


def _jobs(file: RemoteFile) -> str:
    """Return the beginning of the addresses of jobs."""
    return f"{file.address.partition('/processes/')[0]}/jobs/"


def _submitted(client: Client, file: RemoteFile, note: Path) -> str:
    answer = client.json("POST", file.address, file.login, {"inputs": dict(file.inputs or {})})
    job = f"{_jobs(file)}{field_of(answer, file.shown, 'jobID')}"
    write_text(note, json.dumps({"job": job, "origin": file.origin}))
    return job


def _wait(client: Client, file: RemoteFile, job: str) -> None:
    """Wait until a job has succeeded."""
    wait = FIRST_WAIT
    while True:
        state = field_of(client.json("GET", job, file.login), job, "status")
        if state == "successful":
            return
        if state not in WAITING:
            raise _failed(client, file, job, state)
        client.pause(wait)
        wait = min(wait * GROWTH, LONGEST_WAIT)


def _failed(client: Client, file: RemoteFile, job: str, state: str) -> Exception:
    """Return the error of a job that will have no result, with what the store says of it."""
    said = ""
    try:
        said = problem(client.json("GET", f"{job}/results", file.login))
    except FileNotFoundError:
        pass
    except Exception as error:
        said = str(error)
    found = f"a job with the status {state} ({' '.join(said.split()) or 'no reason is stated'})"
    if "licence" in said.lower():
        return NoAccessError([Fault(file.shown, found, "the result of a job", CDS_HINT)])
    hint = "Ask for fewer variables or a smaller area, or choose days that the data set has."
    return refused(file.shown, found, hint)


def _result(client: Client, file: RemoteFile, job: str) -> tuple[str, int | None]:
    """Return address and bytes of the result of a job."""
    document: Any = client.json("GET", f"{job}/results", file.login)
    href = field_of(document, f"{job}/results", "asset", "value", "href")
    size = document["asset"]["value"].get("file:size")
    return linked(job, urljoin(job, str(href))), None if size is None else int(size)
