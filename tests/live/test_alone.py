"""`kmodlab dashboard --demo` on a machine that has no network, no module, no node: nothing but the loopback."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.conftest import Demo, launched, one_playwright, started
from browser.view import VIEWS, View
from patience import SECONDS
from playwright.sync_api import expect

from kmodlab.modules.family import NAME

#: a namespace of one's own, and how one joins it; who is not root needs another one for that
_OURS = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
_THEIRS = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
_ADMIN = "/usr/sbin:/sbin:/usr/bin:/bin"


def alone() -> list[str]:
    """What starts a command where the loopback is all that there is."""
    link = shutil.which("ip", path=_ADMIN)
    assert link, "iproute2 is not installed: `.config/setup live` installs it"
    # By their paths: the demo's own PATH has no program at all.
    argv = ["/usr/bin/unshare", *_OURS, "--net", "/bin/sh", "-c", f'{link} link set lo up && exec "$@"', "sh"]
    done = subprocess.run([*argv, "/bin/true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"there are no network namespaces: {done.stderr.strip()}")
    return argv


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    one = started(tmp_path, before=alone(), PATH="/nonexistent")
    yield one
    if one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def interfaces(pid: int) -> set[str]:
    """The network interfaces that a process has."""
    return set(re.findall(r"^ *(\S+):", Path(f"/proc/{pid}/net/dev").read_text(), re.MULTILINE))


def test_it_takes_neither_network_nor_module_nor_node(demo: Demo, tmp_path: Path) -> None:
    assert interfaces(demo.process.pid) == {"lo"}
    assert len(Path(f"/proc/{demo.process.pid}/net/route").read_text().splitlines()) == 1, "it has no route"
    assert not Path(f"/sys/module/{NAME}").exists()
    joined = shlex.join(
        ["nsenter", f"--target={demo.process.pid}", "--net", *_THEIRS, "--", shutil.which("chromium") or ""]
    )
    script = tmp_path / "chromium"
    script.write_text(f'#!/bin/sh\nexec {joined} "$@"\n')
    script.chmod(0o755)
    with one_playwright() as playwright:
        browser = launched(playwright, by=script)
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        view = View(page, demo.origin)
        page.goto(demo.address)
        expect(page.locator(".link")).to_have_text("live")
        for name in VIEWS:
            view.go(name)
            expect(page.locator("section.panel").first).to_be_visible()
        view.go("events")
        expect(view.table("Newest calls").first).to_be_visible()
        expect(page.locator("footer")).to_contain_text("the books close")
        assert (view.errors, view.elsewhere) == ([], [])
        browser.close()
    status, said = demo.end()
    assert status == 0, said
