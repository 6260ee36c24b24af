"""gdal_name(): the name under which GDAL opens a raster on disk or at a remote address."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.addresses import AnyPath, RemotePath
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.buckets import is_signed, public_url
from pipeline.core.cache import copy_beside, local_copy
from pipeline.core.transfers import CONNECT_SECONDS, FIRST_PAUSE, READ_SECONDS, TRIES
from pipeline.core.web import is_earthdata

SMALL_FILE = 1 << 24
"""Bytes of a remote raster below which it is copied whole; of larger ones GDAL reads parts."""
BESIDE = {
    ".tif": ("{name}.aux.xml", "{name}.msk", "{stem}.tfw"), ".asc": ("{stem}.prj",),
    ".bil": ("{stem}.hdr", "{stem}.prj"), ".img": ("{name}.aux.xml",),
}  # fmt: skip
"""Files that may belong to a raster, by its suffix."""
SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_HTTP_CONNECTTIMEOUT": str(CONNECT_SECONDS),
    "GDAL_HTTP_TIMEOUT": str(2 * READ_SECONDS),
    "GDAL_HTTP_LOW_SPEED_TIME": str(READ_SECONDS),
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": str(TRIES // 2),
    "GDAL_HTTP_RETRY_DELAY": str(FIRST_PAUSE),
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}
"""Settings of GDAL for rasters at remote addresses; those of the environment take precedence.

Folders are not listed, but files beside a raster (.aux.xml, .msk) are looked for, as on disk.
"""


def gdal_name(path: AnyPath) -> str | Path:
    """Return the name for GDAL: the path on disk, unpacked, or a copy of a small remote file.

    Sets variables of the environment that are not set (`SETTINGS`) for a file that GDAL fetches
    itself, because GDAL reads it later and in any thread.
    """
    if not isinstance(path, RemotePath):
        return plain_copy(path)
    is_copied = path.stat().st_size < SMALL_FILE or (path.is_web and is_earthdata(path.url))
    if is_copied and path.suffix.lower() != ".vrt":
        copy = local_copy(path, lasting=True)
        names = BESIDE.get(path.suffix.lower().replace(".tiff", ".tif"), ())
        copy_beside(path, copy, [name.format(name=path.name, stem=path.stem) for name in names])
        return copy
    for key, value in (SETTINGS | _of_endpoint(path)).items():
        os.environ.setdefault(key, value)
    if path.is_web or is_signed(path.scheme, path.access):
        return path.gdal_name
    return f"/vsicurl/{public_url(path.scheme, path.host, path.key)}"


def _of_endpoint(path: RemotePath) -> dict[str, str]:
    """Return GDAL's settings for the endpoint of the environment, and for readers who pay."""
    found = {"AWS_REQUEST_PAYER": "requester"} if path.access.requester_pays else {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if path.scheme == "s3" and endpoint:
        scheme, _, host = endpoint.rstrip("/").partition("://")
        found |= {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "YES" if scheme == "https" else "NO",
                  "AWS_VIRTUAL_HOSTING": "FALSE"}  # fmt: skip
    return found
