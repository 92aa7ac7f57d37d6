"""The host under test, reached through testinfra; each test's work is one remote command."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from testinfra.host import Host

from .kernel_log import trouble
from .netlink import specification
from .script import Answer, script, step

HELPERS = Path(__file__).parent / "helpers"
REMOTE = "/var/cache/kmodlab-contract"
COMPILE = (
    """printf '#include "%s"\\n' *.c | gcc -Wall -Wextra -O0 -static -pthread -o helper.new -x c -"""
    " && mv helper.new helper"
)
"""All files at once: one run of the compiler instead of eleven, which halves the time under emulation."""
DEADLINE_SECONDS = 240

T = TypeVar("T")


class HelperError(Exception):
    """The helper could not do what a test asked for: the lab's fault or the machine's, not the module's."""


def _archive() -> tuple[str, str]:
    """Return the helpers' sources as a base64 text, and their digest."""
    packed = io.BytesIO()
    digest = hashlib.sha256(COMPILE.encode())
    files = {path.name: path.read_bytes() for path in HELPERS.iterdir() if path.suffix in (".c", ".h", ".inc", ".py")}
    files |= specification()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=9) as tar:
        for name, content in sorted(files.items()):
            digest.update(name.encode() + b"\0" + content)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return base64.b64encode(packed.getvalue()).decode(), digest.hexdigest()[:16]


class Machine:
    """One host that claims to carry the modules."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plays = 0
        self.fresh_records: list[str] = []
        """What the kernel said since `take_trouble` was last called."""
        self._last_record: int | None = None
        self._kept: dict[str, object] = {}
        self._sudo = "" if host.run("id -u").stdout.strip() == "0" else "sudo -n "
        sources, digest = _archive()
        self._directory = f"{REMOTE}/{digest}"
        self._install(sources)
        self.play()

    def sh(self, command: str) -> str:
        """Run a shell command as root, and return its output.

        Raises:
            HelperError: it failed; the message has its output.
        """
        result = self.host.run(f"{self._sudo}sh -c {shlex.quote(command)}")
        if result.rc:
            raise HelperError(f"{command[:200]!r} ended with {result.rc}:\n{result.stdout}{result.stderr}")
        return str(result.stdout)

    def _install(self, sources: str) -> None:
        place = f"mkdir -p -m 0700 {REMOTE} && mkdir -p {self._directory} && cd {self._directory}"
        unpack = f"echo {sources} | base64 -d | tar xzf - && {COMPILE}"
        self.sh(f"{place} && {{ test -x helper || {{ {unpack}; }}; }}")

    def remove_helper(self) -> None:
        """Leave nothing behind."""
        self.sh(f"rm -rf {REMOTE}")

    def play(self, *steps: str, deadline: int = DEADLINE_SECONDS) -> list[Answer]:
        """Run steps in one process on the machine, and return an answer for each.

        Args:
            steps: from `script.step` and its like.
            deadline: seconds after which the helper gives up.

        Raises:
            HelperError: the helper failed.
            AssertionError: the machine restarted meanwhile.
        """
        text = script(*steps, step("kmsg", -1 if self._last_record is None else self._last_record))
        output = self.sh(f"exec {self._directory}/helper {deadline} {shlex.quote(text)}")
        answers = cast("list[Answer]", json.loads(output))
        self.plays += 1
        self._listen(answers.pop())
        if len(answers) != len(steps):
            raise HelperError(f"{len(steps)} steps, {len(answers)} answers")
        return answers

    def talk(self, *steps: tuple[str, dict[str, Any]]) -> list[Answer]:
        """Run steps of the netlink client, from `netlink.py`, in one process on the machine.

        Raises:
            HelperError: the client failed.
        """
        (answer,) = self.play(step("sh", f"exec {self.netlink_command(*steps)} 2>&1"))
        if answer["rc"]:
            raise HelperError(f"the netlink client ended with {answer['rc']}:\n{answer['text']}")
        return cast("list[Answer]", json.loads(answer["text"]))

    def netlink_command(self, *steps: tuple[str, dict[str, Any]]) -> str:
        """Return the command that runs steps of the netlink client on the machine."""
        return f"python3 {self._directory}/netlink.py {shlex.quote(json.dumps(steps))}"

    def _listen(self, kmsg: Answer) -> None:
        before, self._last_record = self._last_record, int(kmsg["last"])
        if before is None:
            return
        assert self._last_record >= before, "the machine was restarted: its kernel log begins anew"
        assert kmsg["first"] <= before + 1, "the kernel said more than its log can hold"
        self.fresh_records += kmsg["records"]

    def take_trouble(self) -> list[str]:
        """Return what the kernel complained of since this was last called."""
        records, self.fresh_records = self.fresh_records, []
        return trouble(records)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once a session: for material that several tests look at."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("T", self._kept[key])
