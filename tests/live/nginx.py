"""Debian's nginx, in front of a daemon as the documentation says, on ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from live.daemon import Daemon, Way, free_port, program, wait

HOST = "lab.example"
PATH = "/lab/x"
OPTIONS = ("--path", PATH, "--proxy", "127.0.0.1", "--name", HOST)
"""What the documentation tells the daemon of it."""
_TEMPORARY = "\n".join(
    f"    {name}_temp_path tmp-{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
_CONFIG = """
daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
{temporary}
    access_log off;
    server {{
        listen 127.0.0.1:{plain};
        server_name {host};
        {snippet}
    }}
    server {{
        listen 127.0.0.1:{ciphered} ssl;
        server_name {host};
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
        {snippet}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running one: the ways through it."""

    plain: Way
    ciphered: Way


@contextlib.contextmanager
def proxying(folder: Path, daemon: Daemon, snippet: str) -> Iterator[Nginx]:
    """A proxy that has the documentation's settings twice, without TLS and with it."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert binary, "nginx is not installed: `.config/setup live` installs it"
    assert snippet.count("http://127.0.0.1:8480/") == 1
    snippet = snippet.replace("127.0.0.1:8480", f"127.0.0.1:{daemon.way.port}")
    certify(folder, HOST)
    ports = {"plain": free_port(), "ciphered": free_port()}
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(temporary=_TEMPORARY, host=HOST, folder=folder, snippet=snippet, **ports))
    argv = [binary, "-p", str(folder), "-c", str(config), "-e", "stderr"]
    ways = Nginx(
        Way(ports["plain"], PATH, HOST), Way(ports["ciphered"], PATH, HOST, authority=folder / "authority.pem")
    )
    with program(argv, folder / "nginx.log"):
        wait(lambda: _answers(ways.ciphered), "nginx answers", (folder / "nginx.log").read_text)
        yield ways


def _answers(way: Way) -> bool:
    with contextlib.suppress(OSError):
        return way.ask("GET", "/").status == 200
    return False


def certify(folder: Path, *names: str) -> None:
    """Make an authority, and a certificate of it for these names."""
    authority = trustme.CA()
    one = authority.issue_cert(*names)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    one.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in one.cert_chain_pems:
        pem.write_to_path(str(folder / "chain.pem"), append=True)
