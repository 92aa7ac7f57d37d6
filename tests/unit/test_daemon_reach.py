"""How `kmodlabd serve` is reached: keys of programs, TLS, names, a proxy; and what makes no sense is said at once."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from kmodlab.daemon import invite
from kmodlab.daemon.api import keys, tls
from kmodlab.daemon.api.sessions import Caller, Role, Sessions
from kmodlab.daemon.program import main
from kmodlab.daemon.reach import Reach
from kmodlab.errors import UsageError


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates a and b, and their keys."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    for name in ("a", "b"):
        one = authority.issue_cert("localhost", "127.0.0.1")
        one.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        one.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    return folder


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    assert main(["key", "prometheus", "--keys", str(file)]) == 0
    key = capsys.readouterr().out.strip()
    assert len(key) > 40
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert Sessions(keys.Keys(file)).key(key) == Caller("prometheus", Role.READER)
    assert Sessions(keys.Keys(file)).key(key[:-1]) is None


def test_a_key_is_good_from_when_it_is_made_until_its_line_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    sessions = Sessions(keys.Keys(file))
    first, second = keys.made(file, "a", "reader"), keys.made(file, "b", "admin")
    assert sessions.key(first) == Caller("a", Role.READER)
    assert sessions.key(second) == Caller("b", Role.ADMIN)
    file.write_text(file.read_text().splitlines(keepends=True)[1])
    assert (sessions.key(first), sessions.key(second)) == (None, Caller("b", Role.ADMIN))
    file.unlink()
    assert sessions.key(second) is None


def test_a_file_that_is_spoilt_lets_nobody_in_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    key = keys.made(file, "a", "reader")
    sessions = Sessions(keys.Keys(file))
    with file.open("a") as out:
        out.write("b reader\n")
    assert sessions.key(key) is None
    assert f"line 2 of {file} is no key" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a reader", "line 1 of .* is no key"),
        ("a owner " + "0" * 64, "line 1 of .* is no key"),
        ("a reader " + "0" * 63, "line 1 of .* is no key"),
        ("\n\na reader x", "line 3 of .* is no key"),
        (b"\xff\xfe", "cannot be read: it is no text"),
    ],
)
def test_what_is_no_key_is_said_by_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said):
        keys.Keys(file)


@pytest.mark.parametrize("name", ["", "a b", "a\nb admin", "x" * 65, "ä"])
def test_what_is_no_name_gets_no_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a program"):
        keys.made(tmp_path / "keys", name, "reader")
    assert not (tmp_path / "keys").exists()


def test_a_program_has_one_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.made(tmp_path / "keys", "a", "reader")
    before = (tmp_path / "keys").read_text()
    assert main(["key", "a", "--folder", str(tmp_path)]) == 2
    assert "a has a key already\n  hint: its line taken out of" in capsys.readouterr().err
    assert (tmp_path / "keys").read_text() == before


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Root may write a key into a folder that is another user's."""
    (tmp_path / "precious").write_text("")
    (tmp_path / "keys").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="cannot be written: Too many levels of symbolic links"):
        keys.made(tmp_path / "keys", "a", "reader")
    assert (tmp_path / "precious").read_text() == ""


# -- TLS -----------------------------------------------------------------------------------------------------------


def test_a_certificate_and_its_key_are_taken(issued: Path) -> None:
    found = tls.context(issued / "a.pem", issued / "a.key")
    assert found.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_key_of_another_certificate_is_said(issued: Path) -> None:
    with pytest.raises(UsageError, match=r"the key .*b\.key does not belong to the certificate .*a\.pem"):
        tls.context(issued / "a.pem", issued / "b.key")


def test_a_file_that_is_not_there_or_is_none_is_said(issued: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pem cannot be read: No such file or directory"):
        tls.context(issued / "none.pem", issued / "a.key")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        tls.context(issued / "a.pem", tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match=r"text is no certificate, or .*a\.key no key"):
        tls.context(tmp_path / "text", issued / "a.key")


def test_a_key_with_a_password_asks_at_no_terminal(issued: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key((issued / "a.key").read_bytes(), None)
    kinds = form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    (tmp_path / "locked").write_bytes(key.private_bytes(*kinds))
    with pytest.raises(UsageError, match="locked takes a password") as caught:
        tls.context(issued / "a.pem", tmp_path / "locked")
    assert caught.value.hint == f"`openssl pkey -in {tmp_path / 'locked'} -out FILE` takes it off"


# -- what is reached, and by whom ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"certificate": Path("x")}, "TLS takes both --certificate and --key"),
        ({"key": Path("x")}, "TLS takes both --certificate and --key"),
        ({"path": "lab"}, "lab is no path"),
        ({"path": "/a b"}, "/a b is no path"),
        ({"path": "//x"}, "//x is no path"),
        ({"proxies": ("*",)}, r"\* is no address of a proxy"),
        ({"proxies": ("10.0.0.1/8",)}, "10.0.0.1/8 is no address of a proxy"),
        ({"address": "lab"}, "lab is no address"),
        ({"address": "0.0.0.0"}, r"whoever listens on 0\.0\.0\.0, beyond this machine, does so by TLS"),  # noqa: S104
        ({"address": "192.0.2.1"}, "beyond this machine, does so by TLS"),
    ],
)
def test_what_makes_no_sense_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Reach(0, **given).listening()
    assert caught.value.hint


def test_beyond_the_loopback_with_tls(issued: Path) -> None:
    reach = Reach(0, "192.0.2.1", certificate=issued / "a.pem", key=issued / "a.key")
    assert reach.listening().tls
    assert {"192.0.2.1", "192.0.2.1:*"} <= reach.hosts()


def test_what_is_taken() -> None:
    found = Reach(0, path="/lab/x/", proxies=("127.0.0.1", "10.0.0.0/8")).listening()
    assert (found.root_path, found.proxies, found.tls) == ("/lab/x", "127.0.0.1,10.0.0.0/8", None)
    assert Reach(0, "::1", path="/").listening().root_path == ""
    assert {"lab.example", "lab.example:*", "[::1]:*"} <= Reach(0, "::1", names=("Lab.example",)).hosts()


@pytest.mark.parametrize("name", ["https://lab", "lab:8080", "*", "", "lab/x", "-lab"])
def test_a_name_is_a_host_s(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a host"):
        Reach(0, names=(name,)).hosts()


def test_where_the_page_is_is_noted_for_who_invites(tmp_path: Path) -> None:
    assert invite.noted(tmp_path / "socket") == (0, "http")
    invite.note(tmp_path / "socket", 8480, "https")
    assert invite.noted(tmp_path / "socket") == (8480, "https")
    (tmp_path / "port").write_text("nonsense")
    assert invite.noted(tmp_path / "socket") == (0, "http")
