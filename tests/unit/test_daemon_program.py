"""The program `kmodlabd`: how it is packed, that it is one file which needs nothing, and what it tells systemd."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from kmodlab.daemon import notify
from kmodlab.paths import project_dir

from .test_role_modules import Run, load, run

__all__ = ["run"]
ROOT = project_dir()
ACTION, MODULE = ROOT / "plugins/action/kmodlab_daemon.py", ROOT / "plugins/modules/kmodlab_daemon.py"
PACK = """
import hashlib, runpy, sys
from pathlib import Path
action = runpy.run_path(sys.argv[1])
files = action["files"](Path("src/kmodlab"), Path("kernel/specs/syscall_tracer.yaml"), sys.argv[2:])
sys.stdout.buffer.write(action["build"](files))
"""


def packed(*before: str, also: tuple[str, ...] = ()) -> bytes:
    """Return the program as a process of its own packs it."""
    code = "".join(f"import {name}\n" for name in before) + PACK
    done = subprocess.run([sys.executable, "-c", code, ACTION, *also], cwd=ROOT, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    file = tmp_path_factory.mktemp("program") / "kmodlabd"
    file.write_bytes(packed())
    file.chmod(0o755)
    return file


def test_the_same_sources_make_the_same_bytes(program: Path) -> None:
    """Whatever else the process that packs has done before."""
    other = packed("asyncio", "kmodlab.daemon.serving", "http.client", "xml.etree.ElementTree")
    assert hashlib.sha256(other).digest() == hashlib.sha256(program.read_bytes()).digest()


def test_it_has_all_that_it_needs_and_says_whose_it_is(program: Path) -> None:
    with zipfile.ZipFile(program) as archive:
        names = set(archive.namelist())
    for name in ("starlette/routing", "uvicorn/server", "h11/_connection", "anyio/to_thread", "prometheus_client/core"):
        assert {f"{name}.py", f"{name}.pyc"} <= names
    assert {"kmodlab/daemon/web/index.html", "kmodlab/daemon/api/openapi.yaml"} <= names
    assert "kmodlab/modules/syscall_tracer.json" in names
    assert not [name for name in names if name.endswith((".so", ".pyd")) or "__pycache__" in name]
    owners = {name.partition("-")[0] for name in names if name.endswith(".dist-info/METADATA")}
    licences = {name.partition("-")[0] for name in names if ".dist-info/" in name and "licen" in name.lower()}
    assert owners == licences >= {"anyio", "click", "h11", "starlette", "uvicorn"}


def test_it_has_the_driver_of_a_database_where_that_is_asked_for(program: Path, tmp_path: Path) -> None:
    """By Debian's own Python, with nothing but the file; without the driver a sentence says what to do."""
    file, url = tmp_path / "kmodlabd", tmp_path / "url"
    file.write_bytes(packed(also=("psycopg",)))
    url.write_text("postgresql://db/fleet?no_such_word=1\n")
    url.chmod(0o600)
    said = {}
    for each in (program, file):
        argv = ["/usr/bin/python3", "-IS", str(each), "hub", "--fleet", str(url)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode
        said[each] = done.stderr
    assert "the database's URL cannot be understood" in said[file], "libpq was asked"
    assert "PostgreSQL takes the Python package psycopg and the library libpq" in said[program]


class Installed(importlib.metadata.Distribution):
    """A distribution that is made up, in a folder."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder, self._names = folder, names

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return "Name: made-up\nVersion: 1\n"
        return "".join(f"{name},,\n" for name in self._names) if filename == "RECORD" else None

    def locate_file(self, path: Any) -> Path:
        return self._folder / str(path)


def test_what_is_compiled_or_broken_is_refused(tmp_path: Path) -> None:
    action = load(ACTION)
    for name in ("made_up.py", "made_up.cpython-311-x86_64-linux-gnu.so"):
        (tmp_path / name).touch()
    good = Installed(tmp_path, ["made_up.py", "../../../bin/made_up", "__pycache__/made_up.cpython-311.pyc"])
    assert list(action.of_distribution(good)) == [("made_up.py", b"")]
    with pytest.raises(action.Unpackable, match=r"made-up has made_up\.cpython.*compiled"):
        list(action.of_distribution(Installed(tmp_path, ["made_up.cpython-311-x86_64-linux-gnu.so"])))
    with pytest.raises(action.Unpackable, match="made-up is not whole"):
        list(action.of_distribution(Installed(tmp_path, ["gone.py"])))
    with pytest.raises(action.Unpackable, match="the Python package no_such is not installed where Ansible runs"):
        action.distributions(["no-such"])
    action.EXTRAS["no_such"] = "such"
    with pytest.raises(action.Unpackable, match=r"runs: pip install 'kmodlab\[such\]'"):
        action.distributions(["no-such"])
    with pytest.raises(action.Unpackable, match="the sources of the daemon are not on the controller"):
        action.files(tmp_path, tmp_path)


def _installed(run: Run, dest: Path, digest: str, content: bytes = b"", state: str = "present") -> dict[str, Any]:
    import base64

    given = {"digest": digest, "content": base64.b64encode(content).decode(), "state": state}
    return run(MODULE, dest=str(dest), **given)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The module, on a machine that runs systemd."""
    copy = tmp_path / "kmodlab_daemon.py"
    copy.write_text(MODULE.read_text().replace('"/run/systemd/system"', repr(str(tmp_path))))
    monkeypatch.setattr(sys.modules[__name__], "MODULE", copy)
    return copy


@pytest.mark.usefixtures("systemd")
def test_it_is_sent_only_where_something_else_is_there(run: Run, program: Path, tmp_path: Path) -> None:
    dest, content = tmp_path / "sbin/kmodlabd", program.read_bytes()
    with zipfile.ZipFile(program) as archive:
        _, digest, tag = archive.comment.decode().split()
    assert tag == sys.implementation.cache_tag
    asked = _installed(run, dest, digest)
    assert (asked["changed"], asked["wanted"], dest.exists()) == (True, True, False)
    done = _installed(run, dest, digest, content)
    assert (done["changed"], done["wanted"]) == (True, False)
    assert dest.read_bytes() == content
    again = _installed(run, dest, digest)
    assert (again["changed"], again["wanted"]) == (False, False)
    assert _installed(run, dest, "2")["wanted"] is True
    assert _installed(run, dest, digest, state="absent")["changed"] is True
    assert not dest.exists()
    assert _installed(run, dest, digest, state="absent")["changed"] is False
    dest.write_text("#!/bin/sh\n")
    assert "is another program, which is left alone" in str(_installed(run, dest, digest)["msg"])
    assert _installed(run, dest, digest, state="absent")["changed"] is False


def test_another_python_gets_byte_code_of_its_own(program: Path) -> None:
    """And what was compiled for the controller's is passed over."""
    module = load(MODULE)
    content = program.read_bytes()
    with zipfile.ZipFile(program) as archive:
        assert module.for_this_python(content, archive.comment) == content
    other = module.for_this_python(content, b"kmodlabd 1 other")
    assert other.startswith(b"#!/usr/bin/python3 -IS\n")
    fresh = program.with_name("other")
    fresh.write_bytes(other)
    with zipfile.ZipFile(fresh) as archive, zipfile.ZipFile(program) as before:
        assert archive.comment == b"kmodlabd 1 other"
        assert sorted(archive.namelist()) == sorted(before.namelist())
        assert archive.read("starlette/routing.py") == before.read("starlette/routing.py")
    assert "serve" in subprocess.run([sys.executable, fresh, "-h"], capture_output=True, text=True, check=True).stdout


def test_a_machine_on_which_it_cannot_run_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(MODULE)
    monkeypatch.setattr(module.sys, "version_info", (3, 9, 2))
    assert module.reason() == "it has Python 3.9, and the dashboard takes 3.11"
    monkeypatch.setattr(module.sys, "version_info", (3, 11, 2))
    monkeypatch.setattr(module, "SYSTEMD", "/nonexistent")
    assert module.reason() == "it does not run systemd, which starts the dashboard"


# -- the two processes ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(program: Path, *words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The program, isolated, by a Python without its site-packages; it has to end in good order."""
    argv = [sys.executable, "-I", "-S", str(program), *words]
    with subprocess.Popen(argv, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said


def wait(until: Callable[[], Any]) -> Any:
    """Return what something becomes, once it is true."""
    end = time.monotonic() + SECONDS
    while not (found := until()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def machine(at: Path) -> dict[str, Any]:
    """Return what a daemon says of its machine; nothing while nobody answers."""
    connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(at))
        connection.request("GET", "/api/v1/machine")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except OSError:
        return {}
    finally:
        connection.close()
    return found


def test_both_processes_as_systemd_starts_them(program: Path, tmp_path: Path) -> None:
    """Each says that it is ready and that it lives; one is killed and the other goes on; a token comes with a port."""
    folder, recorder, at = tmp_path / "h", tmp_path / "recorder", tmp_path / "socket"
    places = ["--folder", str(folder), "--recorder", str(recorder)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with running(program, "serve", *places, "--socket", str(at), "--port", "0", **env):
            heard = [manager.recv(100) for _ in range(3)]
            assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            assert machine(at)["state"] == "no recorder"
            with running(program, "record", *places) as process:
                assert wait(lambda: machine(at)["state"] != "no recorder" and machine(at)["state"]) == "no module"
                with running(
                    program, "record", "--folder", str(tmp_path / "other"), "--recorder", str(recorder) + "2", **env
                ):
                    wait(lambda: manager.recv(100) == b"READY=1")
                process.send_signal(signal.SIGTERM)
            wait(lambda: machine(at)["state"] == "no recorder")
            told = subprocess.run(
                [program, "invite", "--socket", str(at), "--json"], capture_output=True, text=True, check=True
            )
            found = json.loads(told.stdout)
            assert found["port"] == int((tmp_path / "port").read_text().split()[0])
            assert len(found["token"]) > 30
            told = subprocess.run([program, "invite", "--socket", str(at)], capture_output=True, text=True, check=True)
            assert re.fullmatch(rf"http://127\.0\.0\.1:{found['port']}/#token=\S{{30,}}\n", told.stdout)
            assert f"ssh -L {found['port']}:127.0.0.1:{found['port']} {os.uname().nodename}\n" in told.stderr
        wait(lambda: manager.recv(100) == b"STOPPING=1")


def test_a_recorder_that_was_stopped_for_a_while_records_on(program: Path, tmp_path: Path) -> None:
    """By a freezer, a debugger, a machine that slept: whatever was waited for is over then, and nothing came."""
    places = ["--folder", str(tmp_path / "h"), "--recorder", str(tmp_path / "recorder")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with running(program, "record", *places, **env) as process:
            assert manager.recv(100) == b"READY=1"
            for _ in range(3):
                wait(lambda: manager.recv(100) == b"WATCHDOG=1")
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED)
                time.sleep(0.5)  # longer than a period
                process.send_signal(signal.SIGCONT)
            assert [manager.recv(100) for _ in range(8)][-1] == b"WATCHDOG=1"


def test_no_daemon_gives_no_invitation(program: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [program, "invite", "--socket", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "the daemon of this machine cannot be asked: No such file or directory\n  hint:" in done.stderr


def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify.notify("READY=1") is False
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    assert notify.period() == 3.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.period() is None
