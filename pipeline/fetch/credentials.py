"""Credentials of providers, from the environment and the files in which people keep them.

They are sent to the hosts to which they belong, and only by https (or within this machine).
"""

from __future__ import annotations

import base64
import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.core.errors import bad_input

CDS_URL = "https://cds.climate.copernicus.eu/api"
CDS_HINT = (
    "Register at https://cds.climate.copernicus.eu, accept the licence of the data set there, and "
    "copy url and key from your profile into ~/.cdsapirc, or set CDSAPI_URL and CDSAPI_KEY."
)
EARTHDATA_HINT = (
    "Register at https://urs.earthdata.nasa.gov, and set EARTHDATA_TOKEN to a token of your "
    "profile, or add the machine urs.earthdata.nasa.gov to ~/.netrc."
)
NETRC_HINT = "Add the machine with login and password to ~/.netrc."
HINTS = {"cds": CDS_HINT, "earthdata": EARTHDATA_HINT, "netrc": NETRC_HINT, "none": ""}
NAMES = {
    "cds": "CDSAPI_KEY or ~/.cdsapirc",
    "earthdata": "EARTHDATA_TOKEN or ~/.netrc",
    "netrc": "~/.netrc",
}
LOCAL = ("127.0.0.1", "localhost", "::1")


def _host(address: str) -> str:
    """Return host and port of an address."""
    return urlsplit(address).netloc.lower()


def _basic(login: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{login}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


@dataclass(frozen=True)
class Credentials:
    """Credentials of this user, and the hosts that they belong to."""

    earthdata_login: str = "urs.earthdata.nasa.gov"
    """Host and port at which an Earthdata user logs in."""
    earthdata_hosts: tuple[str, ...] = ("earthdata.nasa.gov",)
    """Domains that take an Earthdata token."""

    def headers(self, login: str, address: str) -> dict[str, str]:
        """Return the headers that prove who asks for an address; none for other hosts."""
        parts = urlsplit(address)
        if login == "none" or (parts.scheme != "https" and parts.hostname not in LOCAL):
            return {}
        match login:
            case "cds":
                url, key = self.cds()
                return {"PRIVATE-TOKEN": key} if key and _host(url) == _host(address) else {}
            case "earthdata":
                return self._earthdata(address)
        return self._of_netrc(address)

    def is_present(self, login: str, address: str = "") -> bool:
        """Whether there are credentials for a login; `address` is that of the data."""
        match login:
            case "none":
                return True
            case "cds":
                return bool(self.cds()[1])
            case "earthdata":
                token = bool(os.environ.get("EARTHDATA_TOKEN"))
                return token or self._pair(self.earthdata_login) is not None
        return self._pair(_host(address)) is not None

    def require(self, login: str, address: str = "") -> None:
        """Raise `InputError` with what to do where credentials are needed and missing."""
        if not self.is_present(login, address):
            raise bad_input(_host(address) or login, "no credentials", NAMES[login], HINTS[login])

    def cds(self) -> tuple[str, str]:
        """Return address and key of the Climate Data Store; the key is empty if there is none.

        Raises `InputError` for the address of the store that was closed in 2024.
        """
        found = _settings(Path(os.environ.get("CDSAPI_RC", "~/.cdsapirc")).expanduser())
        url = os.environ.get("CDSAPI_URL") or found.get("url") or CDS_URL
        key = os.environ.get("CDSAPI_KEY") or found.get("key") or ""
        if url.rstrip("/").endswith("/v2"):
            raise bad_input("CDSAPI_URL or ~/.cdsapirc", f"{url}, which was closed in 2024",
                            CDS_URL, CDS_HINT)  # fmt: skip
        return url.rstrip("/"), key

    def _earthdata(self, address: str) -> dict[str, str]:
        host = _host(address)
        is_login = host == self.earthdata_login
        if token := os.environ.get("EARTHDATA_TOKEN"):
            fits = any(host == one or host.endswith(f".{one}") for one in self.earthdata_hosts)
            return {"Authorization": f"Bearer {token}"} if is_login or fits else {}
        return self._of_netrc(address) if is_login else {}

    def _of_netrc(self, address: str) -> dict[str, str]:
        pair = self._pair(_host(address))
        return _basic(*pair) if pair else {}

    def _pair(self, host: str) -> tuple[str, str] | None:
        """Return login and password of a host in netrc; `InputError` for a broken file."""
        path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
        try:
            entries = netrc.netrc(path).hosts
        except OSError:
            return None
        except netrc.NetrcParseError as error:
            where = f"{path}, line {error.lineno}"
            raise bad_input(where, error.msg, "entries as in `man netrc`") from None
        entry = entries.get(host) or entries.get(host.partition(":")[0])
        return (entry[0], entry[2]) if entry else None


def _settings(path: Path) -> dict[str, str]:
    """Return the `name: value` lines of a file; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
