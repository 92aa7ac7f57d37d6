"""The Ansible modules and plugins of this project, run here on files made for them."""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kmodlab.modules import VERSION

from . import warm

ROOT = Path(__file__).resolve().parents[2]
LINEAR = ROOT / "plugins/strategy/kmodlab_linear.py"


def load(path: Path) -> ModuleType:
    """Return a Python file of a role as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Run = Callable[..., dict[str, object]]


def _answer(python: list[str], module: Path, **arguments: object) -> dict[str, object]:
    """Run an Ansible module as Ansible does without a connection; return its answer."""
    given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    done = subprocess.run([*python, module], input=given, capture_output=True, text=True, check=False)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A function that runs a module, in a Python that takes arguments for ASCII and has what all modules import."""
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with warm.python("ansible.module_utils.basic", **ascii_only) as argv:
        yield functools.partial(_answer, argv)


@pytest.mark.parametrize(
    ("text", "compiler"),
    [
        ("Linux version 6.1.0-56-cloud-amd64 (x@y) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40)", "gcc-12"),
        ("Linux version 6.8.0-45-generic (x@y) (x86_64-linux-gnu-gcc-13 (Ubuntu 13.2.0) 13.2.0, GNU ld)", "gcc-13"),
        ("Linux version 6.9.0 (x@y) (Debian clang-16 version 16.0.6, LLD 16)", "clang-16"),
        ("Linux version 5.4.0 (x@y) (gcc version 9.4.0 (Ubuntu 9.4.0-1))", "gcc"),
    ],
)
def test_compiler_of_a_kernel(text: str, compiler: str) -> None:
    """The package of the compiler is read from /proc/version."""
    info = load(ROOT / "plugins/modules/kernel_headers_info.py")
    assert info.compiler_of(text) == compiler


@pytest.mark.parametrize(
    ("release", "flavour"),
    [
        ("5.10.0-32-cloud-amd64", "cloud-amd64"),
        ("6.1.0-0.deb11.5-cloud-amd64", "cloud-amd64"),
        ("6.1.0-56-rt-amd64", "rt-amd64"),
        ("7.3.4+deb13-cloud-amd64", "cloud-amd64"),
        ("6.12.48+deb13-amd64", "amd64"),
        ("6.12.9+bpo-arm64", "arm64"),
        ("6.8.0-45-generic", "generic"),
        ("6.8.0-1015-aws", "aws"),
        ("6.8.0-45-generic-64k", "generic-64k"),
    ],
)
def test_flavour_of_a_kernels_own_name(release: str, flavour: str) -> None:
    """Version and build are left out, however the distribution writes them."""
    info = load(ROOT / "plugins/modules/kernel_headers_info.py")
    assert info.flavour_of(release, "") == flavour


def _installed(suffix: str, kernel: str, status: str = "install ok installed") -> str:
    """The paragraph of a metapackage in dpkg's status file."""
    depends = f"linux-firmware, linux-image-{kernel}, linux-modules-extra-{kernel}"
    return f"Package: linux-image-{suffix}\nStatus: {status}\nSection: kernel\nDepends: {depends}\nDescription: x\n"


@pytest.mark.parametrize(
    ("release", "packages", "flavour"),
    [
        ("6.8.0-45-generic", [("generic", "6.8.0-90-generic")], "generic"),
        ("6.8.0-45-generic", [("virtual", "6.8.0-90-generic")], "virtual"),
        ("6.8.0-45-generic", [("virtual", "6.8.0-90-generic", "deinstall ok config-files")], "generic"),
        ("6.8.0-45-generic", [("virtual", "6.8.0-90-generic", "hold ok installed")], "virtual"),
        ("6.8.0-45-generic", [("generic-hwe-22.04", "6.8.0-90-generic")], "generic-hwe-22.04"),
        (
            "6.8.0-45-generic",
            [("generic", "5.15.0-160-generic"), ("generic-hwe-22.04", "6.8.0-90-generic")],
            "generic-hwe-22.04",
        ),
        ("5.15.0-9-generic", [("virtual-hwe-22.04", "6.8.0-9-generic"), ("virtual", "5.15.0-12-generic")], "virtual"),
        ("6.8.0-9-generic", [("generic-hwe-24.04", "6.8.0-12-generic"), ("generic", "6.8.0-9-generic")], "generic"),
        ("6.8.0-1015-aws", [("generic", "6.8.0-90-generic")], "aws"),
        ("6.1.0-50-cloud-amd64", [("cloud-amd64", "6.1.0-56-cloud-amd64 (= 6.1.1-1)")], "cloud-amd64"),
        ("6.1.0-50-amd64", [("cloud-amd64", "6.1.0-56-cloud-amd64")], "amd64"),
    ],
)
def test_flavour_of_the_installed_metapackage(release: str, packages: list[tuple[str, ...]], flavour: str) -> None:
    """Ubuntu's `virtual` and `hwe` kernels call themselves generic: what is installed tells them apart."""
    info = load(ROOT / "plugins/modules/kernel_headers_info.py")
    kernel = f"Package: linux-image-{release}\nStatus: install ok installed\nDepends: kmod\n"
    assert info.flavour_of(release, "\n".join([kernel, *(_installed(*package) for package in packages)])) == flavour


def test_missing_names_what_is_not_there(tmp_path: Path) -> None:
    """A machine without headers and without the compiler says both."""
    info = load(ROOT / "plugins/modules/kernel_headers_info.py")
    lacks = info.missing(tmp_path, "gcc-nosuch", ["sh"])
    assert [name for name in lacks if name != "/usr/include/stdio.h"] == [str(tmp_path / "Makefile"), "gcc-nosuch"]
    (tmp_path / "Makefile").touch()
    assert "gcc-nosuch" in info.missing(tmp_path, "gcc-nosuch", [])


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A module's folder in which somebody has built by hand."""
    folder = tmp_path / "demo"
    (folder / ".tmp").mkdir(parents=True)
    for name in ("demo.c", "Makefile", "demo.o", "demo.mod.c", ".demo.o.cmd", ".tmp/x.c"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def test_only_sources_are_packed_and_always_the_same(sources: Path) -> None:
    """Build outputs and hidden files stay behind; times and access modes do not change the archive."""
    action = load(ROOT / "plugins/action/kernel_source.py")
    patterns = ["Makefile", "*.c"]
    archive = action.pack([sources], patterns)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == ["demo/Makefile", "demo/demo.c"]
    os.utime(sources / "demo.c", (0, 0))
    (sources / "demo.c").chmod(0o640)
    assert action.pack([sources], patterns) == archive
    (sources / "demo.c").write_text("other", encoding="utf-8")
    assert action.pack([sources], patterns) != archive


def test_the_tree_is_replaced_when_anything_differs(run: Run, sources: Path, tmp_path: Path) -> None:
    """Unpacked once, left alone when the same, replaced with nothing left over when not; a check changes nothing."""
    action = load(ROOT / "plugins/action/kernel_source.py")
    module = ROOT / "plugins/modules/kernel_source.py"
    archive = action.compress(action.pack([sources], ["*.c"]))
    dest = tmp_path / "dest"
    first = {"dest": str(dest), "digest": "1", "archive": archive}
    assert run(module, _ansible_check_mode=True, **first)["changed"] is True
    assert not dest.exists()
    assert run(module, **first)["changed"] is True
    (dest / "demo/demo.o").touch()
    assert run(module, **first)["changed"] is False
    assert run(module, **{**first, "digest": "2"})["changed"] is True
    assert sorted(path.name for path in dest.rglob("*")) == [".digest", "demo", "demo.c"]


def test_dkms_gets_the_sources_without_their_folder(sources: Path, tmp_path: Path) -> None:
    """The module's own sources lie at the top, the shared ones in a folder of their name."""
    action = load(ROOT / "plugins/action/kernel_source.py")
    shared = tmp_path / "compat"
    shared.mkdir()
    (shared / "compat.c").touch()
    with tarfile.open(fileobj=io.BytesIO(action.pack([sources, shared], ["*.c"], flat=True))) as tar:
        assert tar.getnames() == ["demo.c", "compat/compat.c"]


CLIENT = ROOT / "plugins/modules/kmodlab_client.py"


def _client_files(package: Path = ROOT / "src/kmodlab") -> dict[str, str]:
    action = load(ROOT / "plugins/action/kmodlab_client.py")
    files: dict[str, str] = action.files(package, ROOT / "kernel/specs/syscall_tracer.yaml")
    return files


def _client(run: Run, dest: Path, digest: str = "1", state: str = "present") -> dict[str, object]:
    files = base64.b64encode(json.dumps(_client_files()).encode()).decode()
    return run(CLIENT, dest=str(dest), digest=digest, files=files, state=state)


def client_program(dest: Path) -> Path:
    """Make the client as the role does, and return its file."""
    run = functools.partial(_answer, [sys.executable])
    assert _client(run, dest)["changed"] is True
    return dest


def test_the_client_is_one_program_that_is_replaced_when_it_differs(run: Run, tmp_path: Path) -> None:
    dest = tmp_path / "bin/kmodlab"
    assert _client(run, dest)["changed"] is True
    # Isolated, by a Python that has no site-packages: what it needs is in it.
    done = subprocess.run([dest, "--version"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"kmodlab {VERSION}\n", "")
    python = [sys.executable, "-I", "-S", str(dest), "trace", "filter", "add", "--help"]
    assert "NAME block [errno=E]" in subprocess.run(python, capture_output=True, text=True, check=True).stdout
    before = dest.read_bytes()
    assert _client(run, dest)["changed"] is False
    assert dest.read_bytes() == before
    assert _client(run, dest, digest="2")["changed"] is True
    assert _client(run, dest, state="absent")["changed"] is True
    assert not dest.exists()
    assert _client(run, dest, state="absent")["changed"] is False


@pytest.mark.parametrize(("prefix", "printed"), [(b"", "byte code\n"), (b"other", f"kmodlab {VERSION}\n")])
def test_the_client_runs_from_its_byte_code_and_on_another_python_from_its_source(
    tmp_path: Path, prefix: bytes, printed: str
) -> None:
    """Where the byte code is not for this Python, as its first bytes say, it is passed over."""
    module = load(CLIENT)
    built, dest = io.BytesIO(module.build(_client_files(), b"")), tmp_path / "kmodlab"
    with zipfile.ZipFile(built) as before, zipfile.ZipFile(dest, "w") as after:
        for entry in before.infolist():
            other = prefix + module.compiled(entry.filename, b"print('byte code')")
            after.writestr(entry, other if entry.filename.endswith(".pyc") else before.read(entry))
    done = subprocess.run([sys.executable, dest, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == printed


def test_another_program_of_the_clients_name_is_left_alone(run: Run, tmp_path: Path) -> None:
    dest = tmp_path / "kmodlab"
    dest.write_text("#!/bin/sh\n")
    assert "is another program, which is left alone" in str(_client(run, dest)["msg"])
    assert _client(run, dest, state="absent")["changed"] is False
    assert dest.read_text() == "#!/bin/sh\n"


def test_a_client_whose_sources_are_missing(ansible_python: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"errors\.py"):
        _client_files(tmp_path)
    play = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    module = ["-m", "kmodlab_client", "-a", f"src={tmp_path} spec=none dest={tmp_path / 'kmodlab'}"]
    program = Path(sys.executable).with_name("ansible")
    argv = [*ansible_python, str(program), "localhost", *play, *module]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "the sources of the client are not on the controller" in done.stdout + done.stderr
    assert "`syscall_tracer_client: false` does without" in done.stdout + done.stderr


INFO = ROOT / "plugins/modules/kernel_module_info.py"


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    """A machine as kernel_module_info sees it, of which everything lies in the test's own folder."""
    return load(INFO).Machine(tmp_path)


def _touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_what_one_way_to_install_leaves_is_in_the_way_of_the_other(machine: Any, tmp_path: Path) -> None:
    """With dkms the plain tree and file are leftovers, and trees of other versions; without, all that dkms has."""
    sources, modules = tmp_path / "usr/src", tmp_path / "lib/modules"
    plain = [sources / "kmodlab-demo", modules / "6.1/extra"]
    with_dkms = [
        sources / "demo-1",
        sources / "demo-2",
        tmp_path / "var/lib/dkms/demo",
        modules / "6.1/updates/dkms/demo.ko.xz",
    ]
    _touch(sources / "kmodlab-demo/.digest", sources / "demo-1/.digest", sources / "demo-2/.digest")
    _touch(sources / "demo-foreign/main.c", tmp_path / "var/lib/dkms/demo/1/source")
    _touch(
        modules / "6.1/extra/demo.ko", modules / "6.1/updates/dkms/demo.ko.xz", modules / "6.1/updates/dkms/other.ko"
    )
    key = tmp_path / "key.conf"
    assert machine.leftovers("demo", sources / "demo-2", key, dkms=True) == list(map(str, [*plain, sources / "demo-1"]))
    key.touch()
    found = machine.leftovers("demo", sources / "kmodlab-demo", key, dkms=False)
    assert sorted(found) == sorted(map(str, [*with_dkms, key]))


def test_the_signing_key_goes_with_the_last_module(machine: Any, tmp_path: Path) -> None:
    """While another module is installed that may be signed by it, the key stays."""
    key = tmp_path / "kmodlab/mok/MOK.priv"
    _touch(key, tmp_path / "usr/src/kmodlab-demo/.digest", tmp_path / "usr/src/other-1/.digest")
    assert machine.last_user("demo", key.parent) == []
    (tmp_path / "usr/src/other-1/.digest").unlink()
    assert machine.last_user("demo", key.parent) == [tmp_path / "kmodlab"]


def test_a_compressed_module_is_recognised(tmp_path: Path) -> None:
    """dkms compresses a module where the kernel's own modules are compressed."""
    (tmp_path / "demo.ko.xz").write_bytes(lzma.compress(b"build id"))
    assert load(INFO).unpacked(tmp_path / "demo.ko.xz") == b"build id"


@pytest.mark.parametrize(
    ("installed", "unfollowed"),
    [
        (["linux-image-6.1.0-56-cloud-amd64", "linux-image-unsigned-6.1.0-56-amd64"], []),
        (["linux-image-cloud-amd64", "linux-headers-cloud-amd64"], []),
        (["linux-image-cloud-amd64", "linux-headers-6.1.0-56-cloud-amd64"], ["linux-headers-cloud-amd64"]),
        (["linux-image-6.12-amd64", "linux-image-amd64"], ["linux-headers-6.12-amd64", "linux-headers-amd64"]),
        (["linux-image-amd64-dbg"], []),
    ],
)
def test_headers_that_would_not_follow_the_kernel(tmp_path: Path, installed: list[str], unfollowed: list[str]) -> None:
    """Each metapackage of a kernel has to have that of the headers beside it."""
    headers = load(ROOT / "plugins/modules/kernel_headers_info.py")
    _touch(*(tmp_path / f"{name}.list" for name in installed))
    assert headers.unfollowed(tmp_path) == unfollowed


def test_a_signing_key_is_made_once_and_for_root_alone(run: Run, tmp_path: Path) -> None:
    """The second look finds the same key; a check makes none."""
    module = ROOT / "plugins/modules/kernel_module_key.py"
    wanted = {"folder": str(tmp_path / "mok"), "subject": "a test"}
    checked = run(module, _ansible_check_mode=True, **wanted)
    assert (checked["changed"], checked["fingerprint"], list(tmp_path.iterdir())) == (True, "", [])
    first, second = run(module, **wanted), run(module, **wanted)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["fingerprint"] == second["fingerprint"] != ""
    private = tmp_path / "mok/MOK.priv"
    assert [path.stat().st_mode & 0o777 for path in (private.parent, private)] == [0o700, 0o600]
    shown = [
        "openssl",
        "x509",
        "-inform",
        "DER",
        "-in",
        str(first["certificate"]),
        "-noout",
        "-ext",
        "extendedKeyUsage",
    ]
    assert "1.3.6.1.4.1.2312.16.1.2" in subprocess.check_output(shown, text=True)


def _common_names(certificate: object) -> list[str]:
    """Return what openssl reads back as the subject of a certificate, an attribute a line."""
    form = ["-nameopt", "multiline,utf8,-esc_msb,-esc_ctrl"]
    shown = ["openssl", "x509", "-inform", "DER", "-in", str(certificate), "-noout", "-subject", *form]
    lines = subprocess.check_output(shown, text=True, encoding="utf-8").splitlines()
    return [line.strip().removeprefix("commonName").lstrip().removeprefix("= ") for line in lines[1:]]


PREFIX = "kmodlab module signing key of "


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("web-1.example.org", "web-1.example.org"),
        ("x" * 34, "x" * 34),
        ("rack/3", "rack/3"),
        ("a+b=c", "a+b=c"),
        ("/CN=other/O=x", "/CN=other/O=x"),
        ("C:\\host\\", "C:\\host\\"),
        ("rechner-küche-東京", "rechner-küche-東京"),
        ("ü" * 34, "ü" * 34),
        (" two  words\n", "two words"),
        ('$ENV::HOME #1, "x"', '$ENV::HOME #1, "x"'),
        ("", ""),
    ],
)
def test_the_key_of_any_machine_carries_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, name: str, shown: str
) -> None:
    """What openssl gives a meaning to, and what is not ASCII, is in the certificate as it is in the inventory."""
    monkeypatch.setenv("LC_ALL", "C")  # of openssl; Python's is such a one
    made = run(ROOT / "plugins/modules/kernel_module_key.py", folder=str(tmp_path / "mok"), subject=PREFIX + name)
    assert "certificate" in made, made
    assert _common_names(made["certificate"]) == [(PREFIX + shown).strip()]


def test_keys_of_machines_with_long_names_are_told_apart(run: Run, tmp_path: Path) -> None:
    """A common name has 64 characters at most: of a longer one the beginning is there, and a checksum of the whole."""
    module = ROOT / "plugins/modules/kernel_module_key.py"
    host = "ip-10-20-30-40.eu-central-1.compute.internal.example."
    made = [run(module, folder=str(tmp_path / end), subject=f"{PREFIX}{host}{end}") for end in ("org", "com")]
    names = [_common_names(answer.get("certificate", answer)) for answer in made]
    assert names[0] != names[1]
    for (name,) in names:
        assert (len(name), name.startswith(f"{PREFIX}ip-10-20-30-40.eu-central~")) == (64, True)


def test_a_key_without_a_name_is_not_made(run: Run, tmp_path: Path) -> None:
    """openssl would leave the subject out, and the firmware's list show nothing."""
    answer = run(ROOT / "plugins/modules/kernel_module_key.py", folder=str(tmp_path / "mok"), subject=" ")
    assert "subject is empty" in str(answer["msg"])
    assert not (tmp_path / "mok").exists()


def test_a_certificate_in_the_wrong_format_is_named(run: Run, tmp_path: Path) -> None:
    """sign-file takes PEM, and the firmware would not."""
    _touch(tmp_path / "MOK.priv")
    (tmp_path / "MOK.der").write_text("-----BEGIN CERTIFICATE-----", encoding="ascii")
    answer = run(ROOT / "plugins/modules/kernel_module_key.py", folder=str(tmp_path), subject="x")
    assert "MOK.der is not in DER" in str(answer["msg"])


@pytest.mark.parametrize(
    ("folder", "name", "enrolled", "pending"),
    [
        ("efivars", "MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", True, False),
        ("efivars", "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f", True, False),
        ("mok-variables", "MokListRT1", True, False),
        ("efivars", "MokNew-605dab50-e046-4300-abb6-3dd810dd8b23", False, True),
        ("efivars", "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f", False, False),
    ],
)
def test_what_the_firmware_knows_of_a_key(
    tmp_path: Path, folder: str, name: str, *, enrolled: bool, pending: bool
) -> None:
    """A certificate counts by the list that it is in: trusted, asked for, or neither."""
    key = load(ROOT / "plugins/modules/kernel_module_key.py")
    certificate = tmp_path / "MOK.der"
    certificate.write_bytes(b"\x30 this one")
    _touch(variable := tmp_path / "sys/firmware/efi" / folder / name)
    variable.write_bytes(b"\7\0\0\0 a list with \x30 this one and others")
    known = key.state(tmp_path / "MOK.priv", certificate, tmp_path)
    assert (known["enrolled"], known["pending"]) == (enrolled, pending)
    certificate.write_bytes(b"\x30 another")
    known = key.state(tmp_path / "MOK.priv", certificate, tmp_path)
    assert (known["enrolled"], known["pending"]) == (False, False)


@pytest.mark.parametrize(
    "names", [("shim-signed/mok/MOK.priv", "shim-signed/mok/MOK.der"), ("dkms/mok.key", "dkms/mok.pub")]
)
def test_the_key_that_was_given_comes_before_the_machines_own(tmp_path: Path, names: tuple[str, str]) -> None:
    """The machine's own is taken where none was given or made; half a pair is none."""
    key = load(ROOT / "plugins/modules/kernel_module_key.py")
    own = tuple(tmp_path / "var/lib" / name for name in names)
    given = (tmp_path / "MOK.priv", tmp_path / "MOK.der")
    assert key.find(tmp_path, tmp_path) is None
    _touch(*own, given[0])
    assert key.find(tmp_path, tmp_path) == own
    _touch(given[1])
    assert key.find(tmp_path, tmp_path) == given


@pytest.mark.parametrize(
    ("variable", "lockdown", "enforce", "secure_boot", "signed_only"),
    [
        (None, "[none] integrity confidentiality", "N", False, False),
        (b"\6\0\0\0\0", "[none] integrity confidentiality", "N", False, False),
        (b"\6\0\0\0\1", "[none] integrity confidentiality", "N", True, True),
        (None, "none [integrity] confidentiality", "N", False, True),
        (None, "none integrity [confidentiality]", "N", False, True),
        (None, "[none] integrity confidentiality", "Y", False, True),
        (None, None, None, False, False),
    ],
)
def test_whom_a_machine_trusts(
    machine: Any,
    tmp_path: Path,
    variable: bytes | None,
    lockdown: str | None,
    enforce: str | None,
    *,
    secure_boot: bool,
    signed_only: bool,
) -> None:
    """Secure Boot is the last byte of its variable; unsigned modules are refused under it, lockdown and sig_enforce."""
    places = (
        "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        "kernel/security/lockdown",
        "module/module/parameters/sig_enforce",
    )
    values = (variable, *((text + "\n").encode() if text else None for text in (lockdown, enforce)))
    for place, content in zip(places, values, strict=True):
        if content is not None:
            _touch(tmp_path / "sys" / place)
            (tmp_path / "sys" / place).write_bytes(content)
    assert machine.trust() == {"secure_boot": secure_boot, "signed_only": signed_only}


PAGE = "System Call Tracer Log\n\nTotal entries: 0\n\nActive Filters:\n===============\n{}\n"


@pytest.mark.parametrize(
    ("shown", "commands"),
    [
        ("No filters active", []),
        ("unlink: BLOCK\n=openat: ALLOW", ["unlink block", "=openat allow"]),
        ("open: BLOCK path=/etc uid=7", ["open block path=/etc uid=7"]),
    ],
)
def test_filters_are_read_as_the_commands_that_set_them(shown: str, commands: list[str]) -> None:
    """What the tracer shows compares with what the role lists."""
    filters = load(ROOT / "plugins/modules/syscall_tracer_filters.py")
    assert filters.active(PAGE.format(shown)) == commands


def test_filters_are_written_only_when_they_differ(run: Run, tmp_path: Path) -> None:
    """One transaction that begins with `clear`; none when nothing differs, none in a check."""
    module = ROOT / "plugins/modules/syscall_tracer_filters.py"
    page = tmp_path / "syscall_tracer"
    page.write_text(PAGE.format("unlink: BLOCK"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    assert run(module, path=str(page), filters=["unlink block"])["changed"] is False
    assert run(module, path=str(page), filters=["open block"], _ansible_check_mode=True)["changed"] is True
    assert page.read_text(encoding="utf-8") == before
    assert run(module, path=str(page), filters=["open block"])["changed"] is True
    assert page.read_text(encoding="utf-8").startswith("clear\nopen block\n")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("unlink block", "unlink block"),
        ("unlink  block errno=13", "unlink block errno=EACCES"),
        ("unlink block path=/a comm=rm errno=EWOULDBLOCK uid=7", "unlink block errno=EAGAIN uid=7 comm=rm path=/a"),
        ("unlink block errno=95", "unlink block errno=EOPNOTSUPP"),
        ("unlink block errno=133", "unlink block errno=EHWPOISON"),
        ("unlink block errno=EDEADLOCK", "unlink block errno=EDEADLK"),
        ("unlink block errno=EWHAT nosuch=1", "unlink block errno=EWHAT nosuch=1"),
    ],
)
def test_filters_are_compared_as_the_tracer_shows_them(command: str, shown: str) -> None:
    """However it is written, a filter that is set already is no change; what the tracer will refuse reaches it."""
    assert load(ROOT / "plugins/modules/syscall_tracer_filters.py").canonical(command) == shown


def test_parameters_are_written_only_when_they_differ(run: Run, tmp_path: Path) -> None:
    """In the order given, after the filters; not in a check; one that is not there is named."""
    module = ROOT / "plugins/modules/syscall_tracer_filters.py"
    page = tmp_path / "syscall_tracer"
    page.write_text(PAGE.format("unlink: BLOCK"), encoding="utf-8")
    (tmp_path / "enforce").write_text("N\n", encoding="utf-8")
    (tmp_path / "returns").write_text("Y\n", encoding="utf-8")
    at = {"path": str(page), "parameters_path": str(tmp_path), "filters": ["unlink block"]}
    wanted = {"enforce": "Y", "returns": "Y"}
    foreseen = run(module, **at, parameters=wanted, _ansible_check_mode=True, _ansible_diff=True)
    assert (foreseen["changed"], foreseen["parameters"]) == (True, {"enforce": "N"})
    assert foreseen["diff"] == {"before": "unlink block\nenforce=N\n", "after": "unlink block\nenforce=Y\n"}
    assert (tmp_path / "enforce").read_text(encoding="utf-8") == "N\n"
    assert run(module, **at, parameters=wanted)["changed"] is True
    assert (tmp_path / "enforce").read_text(encoding="utf-8") == "Y\n"
    assert run(module, **at, parameters=wanted)["changed"] is False
    assert "the tracer refused its parameters: No such file" in str(run(module, **at, parameters={"gone": "1"})["msg"])


def test_workload_tells_what_it_did(run: Run, tmp_path: Path) -> None:
    """The record names the process and its calls, and no file stays."""
    module = ROOT / "plugins/modules/syscall_workload.py"
    record, files = tmp_path / "state/workload.json", tmp_path / "files"
    files.mkdir()
    answer = run(module, nonce="abcd1234", rounds=2, directory=str(files), record=str(record))
    assert answer["result"] == json.loads(record.read_text(encoding="utf-8"))
    assert json.loads(record.read_text(encoding="utf-8"))["calls"]["unlinkat"] == 2
    assert list(files.iterdir()) == []


def test_workload_says_why_it_could_not(run: Run, tmp_path: Path) -> None:
    """A folder that is not there is named."""
    module = ROOT / "plugins/modules/syscall_workload.py"
    answer = run(module, nonce="abcd1234", directory=str(tmp_path / "gone"), record=str(tmp_path / "r/r.json"))
    assert "No such file or directory" in str(answer["msg"])


@pytest.mark.parametrize("mitogen", [True, False])
def test_strategy_with_and_without_mitogen(tmp_path: Path, *, mitogen: bool) -> None:
    """The same configuration runs on mitogen's strategy, or on Ansible's own, and says nothing about it."""
    if not mitogen:
        (tmp_path / "ansible_mitogen.py").write_text("raise ImportError", encoding="utf-8")
    show = f"import runpy; print(runpy.run_path({str(LINEAR)!r})['StrategyModule'].__mro__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    asked = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert ("ansible_mitogen" in asked.stdout) is mitogen
    command = [str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "ping"]
    ping = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ping.returncode, ping.stderr) == (0, "")
    assert "pong" in ping.stdout


def test_health_names_everything_that_is_not_as_expected(run: Run) -> None:
    """On a machine without the modules: absent is right, present is not, and to look is never wrong."""
    module = ROOT / "plugins/modules/kmodlab_health.py"
    assert "msg" not in run(module, expect="absent")
    assert "msg" not in run(module, expect="any")
    answer = run(module)
    for said in (
        "syscall_tracer is not loaded",
        "task_lister is not loaded",
        "/proc/task_tree cannot be read: No such",
    ):
        assert said in str(answer["msg"])
    machine = {"kernel": os.uname().release, "hook": "", "modules": {}}
    assert answer["machine"] == machine


APT = ROOT / "plugins/modules/kmodlab_apt.py"
LOCKER = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, 2); print(flush=True); input()"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A file that another program has locked as apt does; what that program reads ends it."""
    file = tmp_path / "lock"
    argv = [sys.executable, "-c", LOCKER, str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout
        locker.stdout.readline()
        yield file, locker
        if locker.stdin and not locker.stdin.closed:
            locker.communicate("\n")


def _apt(python: list[str], lock: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask for something that apt refuses once it is its turn."""
    play = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "localhost"]
    module = ["-m", "kmodlab_apt", "-a", f"locks={lock} nosuch=1 {' '.join(words)}"]
    program = Path(sys.executable).with_name("ansible")
    return subprocess.run([*python, program, *play, *module], cwd=ROOT, capture_output=True, text=True, check=False)


def test_who_holds_apt_is_named(run: Run, locked: tuple[Path, subprocess.Popen[str]], tmp_path: Path) -> None:
    """By name, process and command; a lock that nobody holds, or that is not there, keeps nobody waiting."""
    (tmp_path / "free").touch()
    held = run(APT, locks=[str(tmp_path / "free"), str(tmp_path / "none"), str(locked[0])])["holders"]
    assert isinstance(held, list)
    (holder,) = held
    assert re.fullmatch(rf"python\S* \(process {locked[1].pid}: \S+ -c import fcntl.*\)", holder)
    assert run(APT, locks=[str(tmp_path / "free"), str(tmp_path / "none")])["holders"] == []


def test_apt_that_is_held_for_too_long(ansible_python: list[str], locked: tuple[Path, subprocess.Popen[str]]) -> None:
    """The run says whom it waits for, and ends in a sentence that names it and what to do."""
    done = _apt(ansible_python, locked[0], "lock_timeout=1")
    assert done.returncode
    assert "localhost: waiting up to 1 s for python" in done.stdout
    said = re.sub(r"\s+", " ", done.stdout)
    assert re.search(
        rf"apt is held by python\S* \(process {locked[1].pid}: .*\), for longer than 1 s\. Wait until", said
    )


def test_apt_that_is_free_again(ansible_python: list[str], locked: tuple[Path, subprocess.Popen[str]]) -> None:
    """Once it is, the packages' turn has come."""
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(_apt, ansible_python, locked[0], "lock_timeout=120")
        time.sleep(3)
        locked[1].communicate("\n")
        done = waiting.result()
    assert "apt is held" not in done.stdout
    assert "Unsupported parameters for (ansible.builtin.apt) module: nosuch" in re.sub(r"\s+", " ", done.stdout)


def test_packages_that_are_held_back() -> None:
    """Installed or not; a metapackage that is held still tells which kernel it brings."""
    headers = load(ROOT / "plugins/modules/kernel_headers_info.py")
    status = "\n".join(
        [
            _installed("cloud-amd64", "6.1.0-56-cloud-amd64 (= 6.1.1-1)", "hold ok installed"),
            _installed("generic", "6.8.0-90-generic", "deinstall ok config-files"),
            "Package: linux-headers-6.1.0-56-cloud-amd64\nStatus: hold ok not-installed\nArchitecture: amd64\n",
        ]
    )
    assert headers.held(status) == ["linux-headers-6.1.0-56-cloud-amd64", "linux-image-cloud-amd64"]
    assert headers.metapackages(status) == {"cloud-amd64": "6.1.0-56-cloud-amd64"}


def test_every_package_is_installed_in_turn() -> None:
    """No role calls apt itself, which would not say who is in its way; each names how long it waits."""
    for file in (ROOT / "roles").glob("*/tasks/*.yml"):
        text = file.read_text(encoding="utf-8")
        assert re.search(r"^\s*(ansible\.builtin\.)?(apt|package|apt_\w+):", text, re.MULTILINE) is None, file
        asked = re.findall(r"^(\s*)kmodlab_apt:\n((?:\1 .*\n)+)", text, re.MULTILINE)
        assert [words for _, words in asked if "lock_timeout: " not in words] == [], file


def test_apt_is_run_in_english() -> None:
    """Whatever the machine speaks; a proxy that the play sets stays, and a check does not wait."""
    action: Any = load(ROOT / "plugins/action/kmodlab_apt.py")
    seen: list[dict[str, object]] = []

    class Action(action.ActionModule):  # type: ignore[misc] # a file of Ansible's, loaded as it does
        def _execute_module(self, **given: object) -> dict[str, object]:
            seen.append(given)
            return {}

    task = SimpleNamespace(
        args={"name": "make", "lock_timeout": "7"}, environment=[{"http_proxy": "here"}], check_mode=True, async_val=0
    )
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="there"))
    Action(task, connection, None, None, None).run()
    assert task.environment == [{"http_proxy": "here"}, {"LC_ALL": "C.UTF-8", "LANGUAGE": "en"}]
    (asked,) = seen
    assert (asked["module_name"], asked["module_args"]) == (
        "ansible.builtin.apt",
        {"name": "make", "lock_timeout": 7},
    )
