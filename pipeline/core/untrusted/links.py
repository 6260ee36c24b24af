"""check_link(): addresses that a document or a redirect of others names, before they are asked.

Nobody's document makes this machine ask itself or the servers of its own network, which may serve
secrets (such as the metadata of cloud machines) or act on a request.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.core.untrusted import hosts
from pipeline.core.untrusted.hosts import Network


def check_link(address: str, document: str) -> None:
    """Raise `ValueError` for a web address that a `document` at another address must not name.

    Refused are http:// in a document at https://, and what `check_network` refuses.
    """
    if urlsplit(address).scheme == "http" and urlsplit(document).scheme == "https":
        raise ValueError(f"{_shown(address)}, without the encryption of https://")
    check_network(address, document)


def check_network(address: str, document: str) -> None:
    """Raise `ValueError` for a web address of a network that the server of `document` is not on.

    A server of this machine may name others of this machine and of its network, as for its login,
    one of this network others of it, and none one with a link-local address, but each itself. A
    name stands for all of its addresses; from now on it is connected to no others
    (`hosts.check_peer`).
    """
    parts, origin = urlsplit(address), urlsplit(document)
    if parts.scheme not in ("http", "https"):
        return
    of_web = origin.scheme in ("http", "https")
    if of_web and (origin.hostname, origin.port) == (parts.hostname, parts.port):
        return
    host = parts.hostname or ""
    wanted = hosts.networks_of(host, parts.scheme)
    home = hosts.home_of(origin.hostname or "", origin.scheme) if of_web else Network.OUTSIDE
    if not wanted <= _REACHED[home]:
        hint = "" if hosts.is_private(host) else ", by the addresses of its name"
        raise ValueError(f"{_shown(address)}, a server of this machine or its own network{hint}")
    if wanted == {Network.OUTSIDE}:
        hosts.keep_outside(host)


_OUT = frozenset({Network.OUTSIDE})
_REACHED = {
    Network.OUTSIDE: _OUT,
    Network.LINK_LOCAL: _OUT,
    Network.PRIVATE: _OUT | {Network.PRIVATE},
    Network.LOOPBACK: _OUT | {Network.PRIVATE, Network.LOOPBACK},
}
"""Networks to which a server of each may lead."""


def _shown(address: str) -> str:
    return address.partition("?")[0]
