"""networks_of(): whether servers are of this machine, of its own network or of the internet.

Names are resolved, and connections report the address at their other end (`check_peer`): a name
may have another address when it is connected to than when it was checked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from enum import Enum
from urllib.request import getproxies, proxy_bypass

OWN_NAMES = (".localhost", ".local", ".internal", ".lan", ".intranet", ".home.arpa")
"""Ends of the names of hosts within a network."""
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of IPv6 that stand for those of IPv4, at the end of which these are (RFC 6052)."""
SECONDS = 300.0
"""Time for which a process uses the addresses of a name."""
Number = ipaddress.IPv4Address | ipaddress.IPv6Address


class Network(Enum):
    """This machine, its link, its network, or the internet outside of them."""

    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    PRIVATE = "private"
    OUTSIDE = "outside"


_RESOLVED: dict[str, tuple[float, frozenset[Network]]] = {}
_CONNECTED: dict[str, frozenset[Network]] = {}
"""Networks of the addresses to which this process has connected, by the name of the host."""
_OUTSIDE: set[str] = set()
"""Hosts to which others have led, and which were outside when they were checked."""
_LOCK = threading.Lock()


def is_private(host: str) -> bool:
    """Whether a host is this machine or one of its own network, by its name or number alone.

    >>> [is_private(host) for host in ("server.org", "127.1", "[::1]", "169.254.169.254")]
    [False, True, True, True]
    """
    return _by_name(_plain(host)) not in (None, Network.OUTSIDE)


def networks_of(host: str, scheme: str) -> frozenset[Network]:
    """Return the networks of all addresses of a host; OUTSIDE for one without an address.

    A name is not resolved where requests go through a proxy, which resolves it itself.
    """
    host = _plain(host)
    known = _by_name(host)
    if known is not None:
        return frozenset({known})
    found = _CONNECTED.get(host, frozenset())
    if not _has_proxy(host, scheme):
        found |= _resolved(host)
    return found or frozenset({Network.OUTSIDE})


def home_of(host: str, scheme: str) -> Network:
    """Return the network of a server that was asked: by its connections, if there were any.

    It is OUTSIDE if any of its addresses is, or if they are of several networks.
    """
    host = _plain(host)
    known = _by_name(host)
    if known is not None:
        return known
    found = _CONNECTED.get(host) or networks_of(host, scheme)
    return next(iter(found)) if len(found) == 1 and host not in _OUTSIDE else Network.OUTSIDE


def keep_outside(host: str) -> None:
    """Let `check_peer` refuse connections to a host at addresses that are not outside."""
    _OUTSIDE.add(_plain(host))


def check_peer(host: str, peer: str) -> None:
    """Raise `ValueError` for a connection to a host that others named, at an address within.

    `peer` is the address to which the connection was made, before anything is sent.
    """
    host, number = _plain(host), _number(peer)
    network = Network.OUTSIDE if number is None else _network(number)
    if host in _OUTSIDE and network is not Network.OUTSIDE:
        raise ValueError(f"an address of this machine or its own network, {peer}, for {host}")
    with _LOCK:
        _CONNECTED[host] = _CONNECTED.get(host, frozenset()) | {network}


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _by_name(host: str) -> Network | None:
    """Return the network that a host's number or name states; None for other names."""
    number = _number(host)
    if number is not None:
        return _network(number)
    if host == "localhost" or host.endswith(".localhost"):
        return Network.LOOPBACK
    return Network.PRIVATE if "." not in host or host.endswith(OWN_NAMES) else None


def _network(number: Number) -> Network:
    if number.is_link_local:
        return Network.LINK_LOCAL
    if number.is_loopback or number.is_unspecified:
        return Network.LOOPBACK
    return Network.OUTSIDE if number.is_global else Network.PRIVATE


def _number(host: str) -> Number | None:
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        if isinstance(number, ipaddress.IPv4Address):
            return number
        if number in TRANSLATED:
            return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        return number.ipv4_mapped or number.sixtofour or number
    try:  # other notations, such as 127.1 and 0x7f000001
        return ipaddress.ip_address(socket.inet_aton(host))
    except OSError:
        return None


def _has_proxy(host: str, scheme: str) -> bool:
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def _resolved(host: str) -> frozenset[Network]:
    when, found = _RESOLVED.get(host, (-SECONDS, frozenset[Network]()))
    if time.monotonic() - when < SECONDS:
        return found
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a name that nobody has cannot be connected to either
        answers = []
    numbers = (_number(str(answer[4][0])) for answer in answers)
    found = frozenset(_network(number) for number in numbers if number is not None)
    _RESOLVED[host] = time.monotonic(), found
    return found
