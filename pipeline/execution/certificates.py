"""temporary_certificates(): what lets the processes of one cluster recognise each other (TLS)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import bad_input
from pipeline.core.files import scratch_folder


@contextmanager
def temporary_certificates(folder: Path | None) -> Iterator[Any]:
    """Yield certificates of one cluster, a `distributed.Security`, in memory or as files.

    Processes on other nodes need files, which lie in `folder` until the end of the context. No
    other user can read them; those that killed runs left there are removed. `InputError` for a path
    that cannot be written in a batch script.
    """
    from distributed import Security

    made = Security.temporary()
    if folder is None:
        yield made
        return
    target = folder.resolve() / "certificates"
    if shlex.quote(str(target)) != str(target):
        raise bad_input(
            "cluster.kind", f"slurm with the run folder {folder}",
            "a path without spaces and other signs that a shell reads",
            "Move it (`roots.runs`), or use `stefaland submit`.",
        )  # fmt: skip
    texts = {"key": made.tls_worker_key, "certificate": made.tls_worker_cert}
    with scratch_folder(target) as shared:
        shared.chmod(0o700)
        for name, text in texts.items():
            (shared / name).touch(0o600)
            (shared / name).write_text(text)
        key, certificate = (str(shared / name) for name in texts)
        keys = dict.fromkeys(("tls_client_key", "tls_scheduler_key", "tls_worker_key"), key)
        ends = ("tls_ca_file", "tls_client_cert", "tls_scheduler_cert", "tls_worker_cert")
        yield Security(require_encryption=True, **keys, **dict.fromkeys(ends, certificate))
