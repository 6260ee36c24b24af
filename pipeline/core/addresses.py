"""path_of(): the path of a `uri`, on disk or at a remote address, with one interface for both."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.core.archives.member_path import MemberPath
from pipeline.core.remote_path import RemotePath, ask_heads
from pipeline.core.transfers import Access

__all__ = [
    "Access", "AnyPath", "MemberPath", "RemotePath", "ask_heads", "check_uri", "is_remote",
    "path_of", "public_text", "public_uri",
]  # fmt: skip

SCHEMES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "http": "http", "https": "https"}
GDAL = {
    "/vsis3/": "s3://", "/vsis3_streaming/": "s3://", "/vsigs/": "gs://",
    "/vsigs_streaming/": "gs://", "/vsiaz/": "az://", "/vsicurl/": "", "/vsicurl_streaming/": "",
}  # fmt: skip
"""Beginnings of GDAL's names of remote files, and of the addresses that they stand for."""
GZIP = "/vsigzip/"
ARCHIVES = ("/vsizip/", "/vsitar/")

AnyPath = Path | RemotePath | MemberPath
"""Path of a file or folder on disk, at a remote address or in an archive."""
_ARCHIVE = re.compile(r"(.+\.(?:zip|kmz|tar|tgz|tar\.\w+))!(?:/(.*))?")
_QUERY = re.compile(r"((?:https?://|\"GET /)[^\s?'\"<>]*)\?[^\s'\"<>]*")
"""Addresses with a query, also as logs of requests have them."""
_GDAL_ARCHIVE = re.compile(r"/vsi(?:zip|tar)/(.+?\.(?:zip|kmz|tar|tgz|tar\.gz))/(.+)")


def _address(uri: str) -> str:
    """Return the uri with names of GDAL, such as /vsis3/bucket/key, as addresses."""
    if uri.startswith(GZIP):  # what a file is packed with is seen from its first bytes
        return _address(uri.removeprefix(GZIP))
    for prefix, scheme in GDAL.items():
        if uri.startswith(prefix):
            return scheme + uri.removeprefix(prefix)
    return re.sub(r"^(https?://)source\.coop/", r"\1data.source.coop/", uri)


def is_remote(uri: str) -> bool:
    """Whether the uri is a remote address.

    >>> is_remote("/vsis3/bucket/rain.tif"), is_remote("data/rain.tif")
    (True, False)
    """
    return _address(uri).partition("://")[0] in SCHEMES


def path_of(uri: str, access: Access | None = None) -> AnyPath:
    """Return the path of a uri: a file or folder on disk, at a remote address or in an archive.

    Names of GDAL (/vsicurl/…, /vsis3/…, /vsigs/…, /vsiaz/…, /vsizip/…, /vsitar/…) are the addresses
    that they stand for; `a.zip!/b.nc` is a file in an archive.
    No connection is made. Raises `ValueError` as `check_uri` does.

    >>> str(path_of("/vsicurl/https://server.org/rain.tif?signature=abc"))
    'https://server.org/rain.tif'
    >>> path_of("rain.tif")
    PosixPath('rain.tif')
    """
    if packed := _GDAL_ARCHIVE.fullmatch(uri) or _ARCHIVE.fullmatch(uri):
        return MemberPath(path_of(packed[1], access), (packed[2] or "").strip("/"))
    check_uri(uri)
    address = _address(uri)
    scheme, _, rest = address.partition("://")
    if scheme not in (*SCHEMES, "file") or not rest:
        return Path(address)
    if scheme == "file":
        return Path(unquote(urlsplit(address).path))
    host, _, key = rest.partition("/")
    query = ""
    if scheme in ("http", "https"):
        key, _, query = key.partition("#")[0].partition("?")
    return RemotePath(SCHEMES[scheme], host, key, query, access or Access())


def check_uri(uri: str) -> None:
    """Raise `ValueError` for an address or name of GDAL of an unknown kind, or a password."""
    address = _address(uri)
    if address.startswith("/vsi") and not address.startswith(ARCHIVES):
        raise ValueError(
            f"GDAL's name {public_uri(uri)}, of which the known kinds are "
            f"{', '.join((*GDAL, GZIP, *ARCHIVES))}"
        )
    scheme, separator, rest = address.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme, re.IGNORECASE):
        return
    if scheme not in (*SCHEMES, "file"):
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"an address {scheme}://, of which the known kinds are {known}")
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            "a user or password in the uri: move them to ~/.netrc or to variables of the "
            "environment, because the uri is written to outputs"
        )
    if scheme != "file" and not rest.partition("/")[0]:
        raise ValueError(f"an address {scheme}:// without a server or bucket")


def public_uri(uri: str) -> str:
    """Return the uri as it is written to outputs: without the query, which may be a signature.

    >>> public_uri("https://server.org/rain.nc?X-Amz-Signature=abc")
    'https://server.org/rain.nc'
    """
    scheme = _address(uri).partition("://")[0]
    return uri.partition("?")[0] if scheme in ("http", "https") else uri


def public_text(text: str) -> str:
    """Return a text, such as a message of GDAL, with its addresses as they are written to outputs.

    >>> public_text("'/vsicurl/https://server.org/a.tif?sig=abc' not recognised")
    "'/vsicurl/https://server.org/a.tif' not recognised"
    """
    return _QUERY.sub(r"\1", text)
