"""TLS: the server's certificate and its key."""

from __future__ import annotations

import ssl
from pathlib import Path

from ...errors import UsageError

_MISMATCH = "KEY_VALUES_MISMATCH"
_HINT = "both are PEM: --certificate has the server's own certificate first, then those that lead to its authority"


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what a server proves by that it is who it says, with TLS 1.2 and up.

    Args:
        certificate: PEM, the server's own first, then those between it and the authority.
        key: PEM, without a password.

    Raises:
        UsageError: one of them cannot be read or is none, or they do not belong together.
    """
    for path in (certificate, key):
        _check(path)
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2

    def locked() -> str:
        # OpenSSL would ask at the terminal, where there may be none.
        raise UsageError(f"the key {key} takes a password", hint=f"`openssl pkey -in {key} -out FILE` takes it off")

    try:
        found.load_cert_chain(certificate, key, locked)
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            raise UsageError(f"the key {key} does not belong to the certificate {certificate}", hint=_HINT) from error
        raise UsageError(f"{certificate} is no certificate, or {key} no key", hint=_HINT) from error
    return found


def _check(path: Path) -> None:
    """Say which file it is that cannot be read, which OpenSSL does not."""
    try:
        path.read_bytes()
    except OSError as error:
        hint = "it has to be a file which the user who runs the server may read"
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
