"""`kmodlab dashboard`: how it opens a browser, and what it refuses."""

from __future__ import annotations

import re
import socket
import webbrowser
from pathlib import Path
from urllib.request import url2pathname

import pytest

from kmodlab.daemon import dashboard, opening
from kmodlab.errors import UsageError

ADDRESS = "http://127.0.0.1:8080/#token=s3cret"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was told to open."""
    found: list[str] = []

    def open_it(address: str) -> bool:
        found.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", open_it)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return found


def test_no_command_line_has_the_token(opened: list[str], tmp_path: Path) -> None:
    assert opening.show(ADDRESS, tmp_path)
    assert "s3cret" not in opened[0]
    page = Path(url2pathname(opened[0].removeprefix("file://")))
    assert page.stat().st_mode & 0o077 == 0
    assert re.findall(r'content="0; url=([^"]*)"', page.read_text()) == [ADDRESS]


def test_without_a_desktop_no_browser_takes_the_terminal(
    opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY")
    assert not opening.show(ADDRESS, tmp_path)
    assert opened == []


def test_a_port_that_is_taken_is_said_before_anything_is_recorded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 cannot be listened on"):
            dashboard.demo(port, say=lambda _: None)
