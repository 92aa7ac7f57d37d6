"""How the server is reached, as who starts it says: checked before anything is begun."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import UsageError

from .api import tls
from .api.access import names
from .api.server import Listening

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Reach:
    """How users come to a server, but for its Unix socket.

    Attributes:
        port: 0 is any that is free, None none at all.
        address: to listen on.
        names: of this server, beside those of the loopback: what a browser calls it.
        path: what a proxy in front takes off the path.
        proxies: addresses or networks whose X-Forwarded-* headers are believed.
        certificate: PEM; with `key` what is spoken is TLS.
        key: PEM.
        keys: file with the keys of programs.
    """

    port: int | None
    address: str = LOOPBACK
    names: tuple[str, ...] = ()
    path: str = ""
    proxies: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    keys: Path | None = None

    def listening(self) -> Listening:
        """Return it as the server takes it.

        Raises:
            UsageError: some of it makes no sense, or a file cannot be read.
        """
        path = self.path.rstrip("/")
        if not _PATH.fullmatch(path):
            raise UsageError(f"{self.path} is no path", hint="--path /lab/x is what the proxy takes off")
        for one in self.proxies:
            _check_network(one)
        found = Listening(path, ",".join(self.proxies), self._tls())
        self._check_address(found)
        return found

    def _tls(self) -> ssl.SSLContext | None:
        if self.certificate is None and self.key is None:
            return None
        if self.certificate is None or self.key is None:
            raise UsageError("TLS takes both --certificate and --key", hint="each names a file, PEM")
        return tls.context(self.certificate, self.key)

    def _check_address(self, listening: Listening) -> None:
        """Refuse what sends sessions over a network for all to read."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            raise UsageError(f"{self.address} is no address", hint="--address takes one of this machine's") from None
        if not address.is_loopback and not listening.tls:
            hint = "--certificate and --key name its files; behind a proxy, or a tunnel, 127.0.0.1 is enough"
            raise UsageError(f"whoever listens on {self.address}, beyond this machine, does so by TLS", hint=hint)

    def hosts(self) -> frozenset[str]:
        """Return what browsers may call the server.

        Whoever comes by a tunnel names the port that it has there; by an address of the loopback all the same.

        Raises:
            UsageError: a name is none.
        """
        for one in self.names:
            if not _NAME.fullmatch(one):
                raise UsageError(f"{one} is no name of a host", hint="--name lab.example, without scheme and port")
        address = f"[{self.address}]" if ":" in self.address else self.address
        return names("*", [form for one in (address, *self.names) for form in (one, f"{one}:*")])


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        hint = "--proxy 127.0.0.1, or a network as 10.0.0.0/24"
        raise UsageError(f"{text} is no address of a proxy", hint=hint) from None
