"""check_link(): addresses that a document or a redirect of others names, before they are asked.

Nobody's document makes this machine ask itself or the servers of its own network, which may serve
secrets (such as the metadata of cloud machines) or act on a request.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

OWN_NAMES = (".localhost", ".local", ".internal", ".lan", ".intranet", ".home.arpa")
"""Ends of the names of hosts within a network."""


def is_private(host: str) -> bool:
    """Whether a host is this machine or one of its own network, by its name or number.

    >>> [is_private(host) for host in ("server.org", "127.1", "[::1]", "169.254.169.254")]
    [False, True, True, True]
    """
    host = host.strip("[]").rstrip(".").lower()
    number = _number(host)
    if number is None:
        return "." not in host or host.endswith(OWN_NAMES)
    return not number.is_global


def _is_link_local(host: str) -> bool:
    number = _number(host.strip("[]"))
    return number is not None and number.is_link_local


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
        return getattr(number, "ipv4_mapped", None) or number
    except ValueError:
        pass
    try:  # other notations, such as 127.1 and 0x7f000001
        return ipaddress.ip_address(socket.inet_aton(host))
    except OSError:
        return None


def check_link(address: str, document: str, *, redirects: bool = False) -> None:
    """Raise `ValueError` for a web address that a `document` at another address must not name.

    Refused are hosts of this machine's own network, unless the document is of the same host, and
    http:// in a document at https://. A server of that network, which an entry names, may redirect
    within it (`redirects`), as to its login, but not to link-local addresses.
    """
    parts, origin = urlsplit(address), urlsplit(document)
    if parts.scheme not in ("http", "https"):
        return
    if parts.scheme == "http" and origin.scheme == "https":
        raise ValueError(f"{_shown(address)}, without the encryption of {origin.scheme}://")
    of_web = origin.scheme in ("http", "https")
    same = of_web and origin.hostname == parts.hostname and origin.port == parts.port
    host = parts.hostname or ""
    within = redirects and is_private(origin.hostname or "") and not _is_link_local(host)
    if not (same or within) and is_private(host):
        raise ValueError(f"{_shown(address)}, a server of this machine or its own network")


def _shown(address: str) -> str:
    return address.partition("?")[0]
