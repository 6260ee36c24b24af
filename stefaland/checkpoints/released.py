"""Encoders that were released: from a name, a folder, a web address or Hugging Face, verified.

An address is a folder with `manifest.json` and the files that it lists; only those of the network
are fetched, safetensors and JSON, and each is compared with its SHA-256 sum before it is used.
They are kept in the folder of copies (`pipeline.core.cache_room`) under the digest of the manifest.
Without a connection the copy that was last fetched is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from pipeline.core.cache_room import cache_folder, hold, make_room
from pipeline.core.errors import InputError, bad_input, nearest_name
from pipeline.core.files import FileSet, make_folder, writing
from pipeline.core.transfers import NoAccessError, UnreachableError
from pipeline.core.untrusted.hosts import is_private
from pipeline.core.web import web_file
from stefaland.checkpoints.manifest import MANIFEST, NEEDED, Manifest

logger = logging.getLogger(__name__)

LARGEST_MANIFEST = 1 << 20
ABOUT = ".about.json"
"""File that every entry of the folder of copies has."""
HUB = "https://huggingface.co"
_REPOSITORY = re.compile(r"([\w.-]+)/([\w.-]+?)(?:@([\w./-]+))?", re.ASCII)
_COMMIT = re.compile(r"/[\w.-]+/[\w.-]+/resolve/[0-9a-f]{40}", re.ASCII)
"""Address, after that of the hub, of a commit: what a hub serves there never changes."""


@dataclass(frozen=True)
class Published:
    """Address of a release and the digest of its manifest; empty before it is published."""

    address: str = ""
    manifest: str = ""
    build: str = ""
    """Commands that make it."""


RELEASES: dict[str, Published] = {
    "stefaland-conus-tiny": Published(
        build="`stefaland run conus_tiny --until pretrain`, then `stefaland release conus_tiny "
        "--name stefaland-conus-tiny --out FOLDER`, and load FOLDER"
    )
}
"""Releases that this version knows by name."""


def encoder_folder(source: str | Path) -> Path:
    """The folder on disk of a release's name, of a folder, or of an address.

    Addresses are https://SERVER/FOLDER and hf://OWNER/NAME, with @REVISION or without. Raises
    `InputError` for an unknown or unpublished name, where nothing can be fetched, and for files
    that are not those of the manifest.

    >>> encoder_folder("stefaland-conus-tinny")
    Traceback (most recent call last):
    ...
    pipeline.core.errors.InputError: stefaland-conus-tinny: found no folder and no release of this \
name; expected a folder, https://…, hf://OWNER/NAME or one of stefaland-conus-tiny. Did you mean \
"stefaland-conus-tiny"?
    """
    text = str(source)
    if "://" in text:
        return _fetched(text, _base(text))
    if isinstance(source, Path) or Path(text).exists() or os.sep in text:
        return _local(Path(text))
    if text not in RELEASES:
        raise bad_input(
            text, "no folder and no release of this name",
            f"a folder, https://…, hf://OWNER/NAME or one of {', '.join(RELEASES)}",
            nearest_name(text, RELEASES),
        )  # fmt: skip
    release = RELEASES[text]
    if not release.address:
        raise bad_input(
            text, "a release that is not published yet", "a folder, https://… or hf://OWNER/NAME",
            f"Build it: {release.build}.",
        )  # fmt: skip
    return _fetched(release.address, _base(release.address), release.manifest)


def _local(folder: Path) -> Path:
    """The folder; of a release its files are compared with the manifest.

    Raises `InputError` for files that are others, and for a copy that has lost its manifest.
    """
    if (folder / ABOUT).is_file() and not (folder / MANIFEST).is_file():
        raise bad_input(
            str(folder), f"a copy of a release without its {MANIFEST}",
            "files that can be compared with their sums", "Load the release by its address.",
        )  # fmt: skip
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
        for name in NEEDED:
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            if not manifest.files[name].fits(content):
                raise _other(str(folder / name), "Copy or build the release again.")
    return folder


def _base(address: str) -> str:
    """The web address of the folder that an address names, without / at its end."""
    scheme, _, rest = address.partition("://")
    if scheme == "hf":
        match = _REPOSITORY.fullmatch(rest)
        if match is None or ".." in rest:
            raise bad_input(address, "no repository", "hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
        owner, name, revision = match.groups()
        base = f"{_hub()}/{owner}/{name}/resolve/{quote(revision or 'main', safe='')}"
    else:
        base = address.rstrip("/")
    try:
        parts = urlsplit(base)
    except ValueError as error:
        raise bad_input("address", f"no web address ({error})", "https:// or hf://") from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise bad_input(f"{scheme}://{parts.hostname}", "a query, fragment or password in the "
                        "address", "the address of a folder")  # fmt: skip
    is_near = parts.scheme == "http" and is_private(parts.hostname or "")
    if not (parts.scheme == "https" or is_near) or not parts.hostname:
        raise bad_input(address, f"an address {scheme}://", "https:// or hf://",
                        "Without encryption, only servers of your own network are asked.",
                        )  # fmt: skip
    return base


def _hub() -> str:
    """Address of the hub of the user, without / at its end."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _is_commit(base: str) -> bool:
    """Whether the address is that of a commit on a hub; other servers may serve anything there."""
    return any(
        base.startswith(hub) and _COMMIT.fullmatch(base.removeprefix(hub))
        for hub in (HUB, _hub())
    )  # fmt: skip


def _fetched(address: str, base: str, pinned: str = "") -> Path:
    """The folder with a verified copy of the release at `base`.

    `pinned` is the digest that its manifest must have; what has it, or is a commit of a hub, is
    not asked for again.
    """
    known = _last_manifest(base)
    fixed = pinned or (_digest(known) if known and _is_commit(base) else "")
    if fixed and (kept := _copy(fixed)) is not None:
        _used(cache_folder() / _key(base))
        return kept
    content = _manifest(address, base, known)
    digest = _digest(content)
    if pinned and digest != pinned:
        raise _other(f"{base}/{MANIFEST}", "It was changed after this version was made: nothing of "
                     "it was used. Update stefaland, or load the address itself.")  # fmt: skip
    folder = _copy(digest) or _downloaded(address, base, content)
    _keep(_key(base), {MANIFEST: content}, base)
    return folder


def _manifest(address: str, base: str, known: bytes | None) -> bytes:
    """The manifest as the server has it, or as it was when there was a connection."""
    try:
        return _download(address, f"{base}/{MANIFEST}", LARGEST_MANIFEST)
    except UnreachableError:
        if known is None:
            raise
        logger.warning("%s: no connection; the copy that was last fetched is used", address)
        return known


def _downloaded(address: str, base: str, content: bytes) -> Path:
    """The folder of a new copy, whose files all have the digests of the manifest."""
    manifest, key = Manifest.read(content, f"{base}/{MANIFEST}"), _name(content)
    files = {MANIFEST: content}
    make_room(sum(manifest.files[name].size for name in NEEDED), address, key)
    for name in NEEDED:
        url, wanted = f"{base}/{name}", manifest.files[name]
        files[name] = _download(address, url, wanted.size)
        if not wanted.fits(files[name]):
            raise _other(url, "Run again. If it stays, the release is damaged, or not the one that "
                         "was published: nothing of it was used.")  # fmt: skip
    return _keep(key, files, base)


def _download(address: str, url: str, most: int) -> bytes:
    """The bytes of a file; `InputError` for one with more than `most`, and where there is none."""

    def whole(parts: Iterator[bytes]) -> bytes:
        content = bytearray()
        for part in parts:
            content += part
            if len(content) > most:
                raise bad_input(url, f"more than {most:,} bytes", "the size in the manifest")
        return bytes(content)

    try:
        return web_file(url, whole)
    except FileNotFoundError:
        raise bad_input(
            url, "no such file (status 404)", "a release: manifest.json and the files it lists",
            f"Compare {address} with its page; `stefaland release` makes such a folder.",
        ) from None  # fmt: skip
    except NoAccessError as error:
        found = error.faults[0].found
        raise bad_input(
            url, f"{found}, as of a repository that is private or does not exist",
            "a public release", "Check owner, name and revision.",
        ) from None  # fmt: skip


def _other(where: str, hint: str) -> InputError:
    """The error for a file that is not that of its manifest, which the caller raises."""
    found = "other bytes than those whose SHA-256 sum is published"
    return bad_input(where, found, "the file of the release", hint)


def _key(base: str) -> str:
    """Name of the entry that holds the last manifest of an address."""
    return _name(f"{MANIFEST} of {base}".encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _name(content: bytes) -> str:
    return _digest(content)[:32]


def _last_manifest(base: str) -> bytes | None:
    try:
        return (cache_folder() / _key(base) / MANIFEST).read_bytes()
    except OSError:
        return None


def _copy(digest: str) -> Path | None:
    """The copy with this digest of its manifest; None where it is not whole and unchanged."""
    folder = cache_folder() / digest[:32]
    try:
        content = (folder / MANIFEST).read_bytes()
        if _digest(content) != digest:
            return None
        manifest = Manifest.read(content, str(folder / MANIFEST))
        if not all(manifest.files[name].fits((folder / name).read_bytes()) for name in NEEDED):
            return None
    except (OSError, InputError):
        return None
    return _used(folder)


def _used(folder: Path) -> Path:
    """The folder of an entry, held by this process and marked as used now."""
    hold(folder.name)
    with suppress(OSError):  # a folder that is only read
        os.utime(folder / ABOUT)
    return folder


def _keep(key: str, files: dict[str, bytes], base: str) -> Path:
    """Write the files of an entry of the folder of copies together; returns its folder.

    The manifest of an address is marked as used after the files that it lists, which are thus
    removed before it when room is needed.
    """
    folder, about = cache_folder() / key, json.dumps({"address": base}).encode()
    if all((folder / name).is_file() and (folder / name).read_bytes() == content
           for name, content in files.items()):  # fmt: skip
        return _used(folder)
    make_folder(folder)
    with writing(folder), FileSet() as written:
        for name, content in {**files, ABOUT: about}.items():
            written.add(folder / name, [content])
    return _used(folder)
