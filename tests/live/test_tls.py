"""`kmodlabd serve` with a certificate: a client that trusts its authority comes in, nobody else; the socket stays."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from patience import SECONDS

from kmodlab.daemon.demo import Demo
from live.daemon import PROGRAM, Daemon, Way, serving, wait
from live.nginx import certify

MACHINE = "/api/v1/machine"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certify(folder, "localhost", "127.0.0.1", "lab.example")
    return folder


@pytest.fixture(scope="module")
def open_streams() -> Iterator[list[http.client.HTTPConnection]]:
    """They are closed when the daemon has ended."""
    found: list[http.client.HTTPConnection] = []
    yield found
    for one in found:
        one.close()


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, files: Path, open_streams: list[http.client.HTTPConnection]
) -> Iterator[Daemon]:
    del open_streams
    options = ["--certificate", str(files / "chain.pem"), "--key", str(files / "key.pem"), "--name", "lab.example"]
    folder = tmp_path_factory.mktemp("daemon")
    authority, programs = files / "authority.pem", folder / "programs"
    with serving(folder, Demo(past=60), *options, authority=authority, keys_file=programs) as one:
        yield one


def test_who_trusts_the_authority_comes_in(daemon: Daemon, files: Path) -> None:
    for host in ("127.0.0.1", "localhost", "lab.example"):
        way = Way(daemon.way.port, host=host, authority=files / "authority.pem")
        answer = way.ask("POST", "/api/v1/session", {"origin": way.origin}, {"token": daemon.token()})
        assert answer.status == 201, answer.body
        assert "; Secure" in answer.headers["set-cookie"]
        headers = {"cookie": answer.headers["set-cookie"].partition(";")[0], "origin": way.origin}
        assert way.ask("GET", MACHINE, headers).status == 200
        assert way.ask("GET", MACHINE, {**headers, "origin": f"http://{host}:{way.port}"}).status == 403


def test_a_program_comes_in_by_its_key(daemon: Daemon) -> None:
    wait(lambda: daemon.get(MACHINE)["kernel"] == "6.1.0-demo", "it is recorded")


def test_frames_come(daemon: Daemon, open_streams: list[http.client.HTTPConnection]) -> None:
    """The stream is left open, and the daemon ends in good order all the same."""
    stream = daemon.way.send("GET", "/api/v1/stream", {"authorization": f"Bearer {daemon.reader}"})
    open_streams.append(stream)
    response = stream.getresponse()
    assert response.status == 200
    assert b"event: state\n" in (response.readline(), response.readline())


def test_another_authority_trusts_nobody_here(daemon: Daemon, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        Way(daemon.way.port, authority=tmp_path / "other.pem").ask("GET", "/")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(daemon: Daemon, files: Path, version: ssl.TLSVersion) -> None:
    tls = ssl.create_default_context(cafile=str(files / "authority.pem"))
    tls.minimum_version = tls.maximum_version = version
    raw = socket.create_connection(("127.0.0.1", daemon.way.port), SECONDS)
    with tls.wrap_socket(raw, server_hostname="localhost") as one:
        assert one.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]


def test_nothing_is_answered_without_tls(daemon: Daemon) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", daemon.way.port, timeout=SECONDS)) as plain:
        plain.request("GET", "/")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            plain.getresponse()


def test_the_socket_needs_none_and_an_invitation_says_where(daemon: Daemon) -> None:
    argv = [sys.executable, "-c", PROGRAM, "invite", "--socket", str(daemon.socket)]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(rf"https://127\.0\.0\.1:{daemon.way.port}/#token=\S{{30,}}\n", told)


def test_files_that_do_not_belong_together_end_it_at_once(files: Path, tmp_path: Path) -> None:
    certify(tmp_path, "localhost")
    places = [f"--{name}={tmp_path / name}" for name in ("folder", "recorder", "socket")]
    argv = [sys.executable, "-c", PROGRAM, "serve", *places, "--port=0", f"--certificate={files / 'chain.pem'}"]
    done = subprocess.run([*argv, f"--key={tmp_path / 'key.pem'}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"kmodlabd: the key {tmp_path / 'key.pem'} does not belong to the certificate {files}" in done.stderr
    assert "\n  hint: both are PEM" in done.stderr
    assert not (tmp_path / "folder").exists()
    done = subprocess.run([*argv, f"--key={tmp_path / 'none.pem'}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"kmodlabd: {tmp_path / 'none.pem'} cannot be read: No such file or directory" in done.stderr
