"""icechunk_store(): a version of an Icechunk repository, as zarr-python opens it.

Needs the package icechunk (extra `icechunk`).
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.core.addresses import AnyPath, RemotePath
from pipeline.core.buckets import bucket_region, is_signed
from pipeline.core.errors import bad_input
from pipeline.grid.healpix import GridOptions

BRANCHES = "refs/branch.main/ref.json"
"""File that every repository has, at least of format 1."""
VERSIONS = ("branch", "tag", "snapshot")
"""Options that name a version of a repository."""


class ZarrOptions(GridOptions):
    """Options of an entry of Zarr stores: the version of an Icechunk repository."""

    branch: str = "main"
    tag: str | None = None
    snapshot: str | None = None


def is_icechunk(path: AnyPath) -> bool:
    """Whether the path is that of an Icechunk repository."""
    return path.suffix not in (".json", ".zarr") and (path / BRANCHES).is_file()


def icechunk_store(path: AnyPath, options: ZarrOptions, trust: bool, where: str) -> Any:
    """Return the store of the version that the options name; the branch `main` by default.

    Chunks that are parts of other files (virtual chunks) are read only with `trust`. Raises
    `InputError` without the package, and for a repository or version that cannot be opened.
    """
    if find_spec("icechunk") is None:
        raise bad_input(
            where, "an Icechunk repository, but no module icechunk", "the package icechunk",
            "Run `pip install 'stefaland[icechunk]'`.",
        )  # fmt: skip
    import icechunk

    if options.tag and options.snapshot:
        raise bad_input(where, "`tag` and `snapshot`", "one of them", "Remove the other.")
    chosen: dict[str, Any] = {"tag": options.tag, "snapshot_id": options.snapshot}
    chosen = {key: value for key, value in chosen.items() if value} or {"branch": options.branch}
    try:
        storage = _storage(icechunk, path, where)
        config = icechunk.Repository.fetch_config(storage)
        virtual = (config.virtual_chunk_containers if config else None) or {}
        allowed = dict.fromkeys(virtual) if trust else None
        opened = icechunk.Repository.open(storage, authorize_virtual_chunk_access=allowed)
        return opened.readonly_session(**chosen).store
    except (icechunk.IcechunkError, ValueError) as error:
        found = f"a repository that cannot be opened ({_brief(error)})"
        raise bad_input(
            where, found, f"an Icechunk repository with {next(iter(chosen.items()))}",
            "Set `branch`, `tag` or `snapshot` under `options`.",
        ) from None  # fmt: skip


def _brief(error: Exception) -> str:
    """Return the first line of an error that holds words."""
    lines = (line.strip(" ×│├─▶") for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _storage(icechunk: Any, path: AnyPath, where: str) -> Any:
    """Return icechunk's storage for a path, with the access of the environment."""
    if not isinstance(path, RemotePath):
        assert isinstance(path, Path)
        return icechunk.local_filesystem_storage(str(path.resolve()))
    signed = {"from_env": True} if is_signed(path.scheme, path.access) else {"anonymous": True}
    if path.scheme == "gs":
        return icechunk.gcs_storage(bucket=path.host, prefix=path.key, **signed)
    if path.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return icechunk.s3_storage(
            bucket=path.host, prefix=path.key, region=bucket_region(path.host),
            endpoint_url=endpoint, allow_http=str(endpoint).startswith("http://"),
            force_path_style=endpoint is not None, requester_pays=path.access.requester_pays,
            **signed,
        )  # fmt: skip
    raise bad_input(
        where, f"an Icechunk repository at {path.scheme}://", "one on disk or at s3:// or gs://",
        "Take its s3:// address if it has one (set AWS_ENDPOINT_URL for other services).",
    )  # fmt: skip
