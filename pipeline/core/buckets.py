"""Objects of cloud stores (s3, gs, az): size and version, parts of their bytes, and listings.

Credentials, region and endpoint come from the environment: AWS_ACCESS_KEY_ID and the like,
AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_….
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import obstore
import requests
from obstore.exceptions import BaseError, GenericError, NotFoundError
from obstore.store import AzureStore, GCSStore, S3Store

from pipeline.core import transfers
from pipeline.core.transfers import (
    Access,
    Head,
    changed,
    count_bytes,
    no_access,
    pause,
    refused,
    spare,
    unreachable,
)

Result = TypeVar("Result")

PREFIX = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
SIGNS = {
    "s3": (
        "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY",
        "AZURE_CLIENT_ID",
    ),
}  # fmt: skip
"""Variables of the environment of which any means that requests are signed."""


def is_signed(scheme: str, access: Access) -> bool:
    """Whether requests are signed with the credentials of the environment."""
    if access.anonymous is not None:
        return not access.anonymous
    return any(os.environ.get(name) for name in SIGNS[scheme])


def bucket_head(scheme: str, bucket: str, key: str, access: Access) -> Head:
    """Return size and version of an object.

    Raises `FileNotFoundError` if there is none, and `InputError` for every other answer.
    """
    where = f"{scheme}://{bucket}/{key}"
    meta = _asked(where, access, lambda store: obstore.head(store, key))
    return Head(meta["size"], _version(meta))


def bucket_part(
    scheme: str, bucket: str, key: str, access: Access, start: int, stop: int, version: str | None
) -> bytes:
    """Return bytes `start` to `stop` (exclusive) of an object; errors as of `bucket_head`.

    `version` is that which the object must have; None for any.
    """
    where = f"{scheme}://{bucket}/{key}"

    def part(store: Any) -> bytes:
        answer = obstore.get(store, key, options={"range": (start, stop)})
        if version and _version(answer.meta) != version:
            raise changed(where)
        content = bytes(answer.bytes())
        count_bytes(len(content))
        if len(content) != stop - start:
            raise GenericError(f"{len(content):,} of {stop - start:,} bytes")
        return content

    return _asked(where, access, part)


def bucket_object(scheme: str, bucket: str, key: str, access: Access) -> bytes:
    """Return all bytes of an object; errors as of `bucket_head`."""

    def whole(store: Any) -> bytes:
        content = bytes(obstore.get(store, key).bytes())
        count_bytes(len(content))
        return content

    return _asked(f"{scheme}://{bucket}/{key}", access, whole)


def bucket_folder(
    scheme: str, bucket: str, prefix: str, access: Access
) -> tuple[list[str], dict[str, Head]]:
    """Return the keys of folders (without the last /) and the objects directly under a prefix."""
    where = f"{scheme}://{bucket}/{prefix}"
    found = _asked(where, access, lambda store: obstore.list_with_delimiter(store, prefix or None))
    objects = {meta["path"]: Head(meta["size"], _version(meta)) for meta in found["objects"]}
    return [str(folder) for folder in found["common_prefixes"]], objects


def has_objects(scheme: str, bucket: str, prefix: str, access: Access) -> bool:
    """Whether there is any object under a prefix."""
    where = f"{scheme}://{bucket}/{prefix}"

    def first(store: Any) -> bool:
        return any(len(found) for found in obstore.list(store, prefix or None, chunk_size=1))

    return _asked(where, access, first)


def _version(meta: Any) -> str:
    return str(meta["e_tag"] or meta["last_modified"] or "")


def _asked(where: str, access: Access, read: Callable[[Any], Result]) -> Result:
    """Return what `read` makes of the store; object_store itself repeats requests that failed."""
    scheme, _, rest = where.partition("://")
    bucket = rest.partition("/")[0]
    spare(f"{scheme}://{bucket}", where)
    try:
        store = _store(scheme, bucket, access, _environment(scheme))
    except (BaseError, ValueError) as error:
        hint = f"Correct the variables {PREFIX[scheme]}… of the environment."
        raise refused(where, f"no access that is set up ({_brief(error)})", hint) from None
    for number in range(transfers.TRIES_TO_CONNECT):
        try:
            return read(store)
        except (NotFoundError, FileNotFoundError):
            raise FileNotFoundError(where) from None
        except GenericError as error:
            text = _brief(error)
            body = "body" in text or "bytes" in text or "decod" in text
            if not body or number + 1 == transfers.TRIES_TO_CONNECT:
                raise _failure(where, text, access) from None
            pause(number)
        except BaseError as error:
            raise _failure(where, _brief(error), access) from None
    raise AssertionError


def _brief(error: Exception) -> str:
    """Return the first line of an error without its address."""
    text = str(error).partition("\n")[0]
    text = re.sub(r"^Generic \w+ error: |Error performing \w+ \S+ ", "", text)
    text = re.sub(r"\S+://\S+", "the address", text).strip()
    tries = re.match(r"in [\d.]+\w*s, after (\d+) retries.*? - (?:HTTP error: )?(.*)", text)
    return f"{tries[2]} in {int(tries[1]) + 1} tries" if tries else text


def _failure(where: str, text: str, access: Access) -> Exception:
    scheme = where.partition(":")[0]
    if re.search(r"40[13]|[Uu]nauth|[Pp]ermission|[Ff]orbidden|AccessDenied", text):
        return no_access(where, f"no access ({text})", _access_hint(scheme, access))
    if "error sending request" in text or "connect" in text.lower():
        server = "/".join(where.split("/")[:3])
        return unreachable(server, where, f"no connection ({text})")
    return refused(where, text, "Run again later if the service is overloaded.")


def _access_hint(scheme: str, access: Access) -> str:
    if is_signed(scheme, access):
        return (
            "Check the credentials of the environment; `options: {anonymous: true}` reads a public "
            "bucket without them, `{requester_pays: true}` one whose readers pay."
        )
    return f"Set credentials in the environment, {SIGNS[scheme][0]} or similar."


def _environment(scheme: str) -> tuple[tuple[str, str], ...]:
    """Return the variables that decide how a store is opened, so that a change opens it anew."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(PREFIX[scheme])))


@lru_cache(maxsize=64)
def _store(
    scheme: str, bucket: str, access: Access, environment: tuple[tuple[str, str], ...]
) -> Any:
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=transfers.CONNECT_SECONDS),
            "timeout": timedelta(seconds=4 * transfers.READ_SECONDS),
            "allow_http": True,
        },
        "retry_config": {
            "max_retries": transfers.TRIES - 1,
            "retry_timeout": timedelta(seconds=4 * transfers.READ_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=transfers.FIRST_PAUSE),
                "max_backoff": timedelta(seconds=transfers.LONGEST_PAUSE),
                "base": 2,
            },
        },
    }
    variables = dict(environment)
    if not is_signed(scheme, access):
        options["skip_signature"] = True
    if scheme == "gs":
        return GCSStore(bucket, **options)
    if scheme == "az":
        return AzureStore(bucket, **options)
    if access.requester_pays:
        options["request_payer"] = True
    if is_signed(scheme, access) and "AWS_ACCESS_KEY_ID" not in variables:
        options |= _profile(variables)
    regions = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
               "AWS_ENDPOINT"}  # fmt: skip
    if "region" not in options and not regions & variables.keys():
        options["region"] = _region(bucket)
    return S3Store(bucket, **options)


def bucket_region(bucket: str) -> str:
    """Return the region of a bucket of s3: that of the environment, or else that of its server."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return named or ("us-east-1" if own else _region(bucket))


def public_url(scheme: str, bucket: str, key: str) -> str:
    """Return the web address of an object that anyone may read."""
    if scheme == "gs":
        base = os.environ.get("GOOGLE_BASE_URL", "https://storage.googleapis.com")
        return f"{base}/{bucket}/{quote(key)}"
    if scheme == "az":
        account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        return f"https://{account}.blob.core.windows.net/{bucket}/{quote(key)}"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        endpoint = f"https://s3.{bucket_region(bucket)}.amazonaws.com"
    return f"{endpoint.rstrip('/')}/{bucket}/{quote(key)}"


def _profile(variables: dict[str, str]) -> dict[str, str]:
    """Return the keys and the region of AWS_PROFILE in the files where AWS's tools keep them."""
    home, name = Path.home() / ".aws", variables.get("AWS_PROFILE", "default")
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", "default" if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        parser = configparser.RawConfigParser()
        parser.read(variables.get(variable, home / file))
        found |= dict(parser[section]) if section in parser else {}
    keys = {
        "aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token", "region": "region",
    }  # fmt: skip
    return {keys[name]: value for name, value in found.items() if name in keys}


@lru_cache(maxsize=64)
def _region(bucket: str) -> str:
    """Return the region of a bucket of AWS, which its server states even where it refuses access.

    Raises `InputError` if there is no connection.
    """
    where = f"s3://{bucket}"
    for number in range(transfers.TRIES_TO_CONNECT):
        try:
            answer = requests.head(
                f"https://s3.amazonaws.com/{bucket}",
                timeout=transfers.CONNECT_SECONDS,
                allow_redirects=False,
            )
            return answer.headers.get("x-amz-bucket-region", "us-east-1")
        except requests.RequestException:
            if number + 1 < transfers.TRIES_TO_CONNECT:
                pause(number)
    raise unreachable(
        where, where, f"no connection to s3.amazonaws.com in {transfers.TRIES_TO_CONNECT} tries"
    )
