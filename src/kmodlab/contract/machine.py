"""The host under test, reached through testinfra; each test's work is one remote command."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import io
import json
import platform
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from testinfra.backend.base import BaseBackend
from testinfra.host import Host

from .channel import open_channel
from .kernel_log import trouble
from .netlink import specification
from .script import Answer, script, step

HELPERS = Path(__file__).parent / "helpers"
REMOTE = "/var/cache/kmodlab-contract"
COMPILE = """printf '#include "%s"\\n' *.c | gcc -Wall -Wextra -O0 -static -s -pthread -o {0} -x c -"""
"""All files at once: one run of the compiler instead of eleven, which halves the time under emulation."""
PIECE = 90_000
"""Bytes of what one remote command may carry."""
DEADLINE_SECONDS = 240

T = TypeVar("T")

# testinfra asks the machine for its encoding as soon as a command is not ASCII; where the path of ssh's configuration
# is not, that very question asks again, without end. What the tests send, and what they read, is UTF-8.
setattr(BaseBackend, "get_encoding", lambda _: "UTF-8")  # noqa: B010 (mypy refuses to assign to a method)


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


@functools.cache
def _build_here(architecture: str) -> bytes | None:
    """Return the helper, compiled on this machine; nothing where it is of another architecture or has no compiler."""
    if platform.machine() != architecture:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "helper"
        command = COMPILE.format(shlex.quote(str(file)))
        done = subprocess.run(["sh", "-c", command], cwd=HELPERS, capture_output=True, check=False)
        return file.read_bytes() if done.returncode == 0 else None


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
        self._channel = open_channel(host.backend, f"{self._sudo}sh")
        sources, digest = _archive()
        self._directory = f"{REMOTE}/{digest}"
        if not self._is_installed():
            self._install(sources)
        self.play()

    def sh(self, command: str) -> str:
        """Run a shell command as root, and return its output.

        Raises:
            HelperError: it failed; the message has its output.
        """
        status, output, errors = self._run(command)
        if status:
            raise HelperError(f"{command[:200]!r} ended with {status}:\n{output}{errors}")
        return output

    def _run(self, command: str) -> tuple[int, str, str]:
        if self._channel:
            return self._channel.run(command)
        result = self.host.run(f"{self._sudo}sh -c {shlex.quote(command)}")
        return result.rc, str(result.stdout), str(result.stderr)

    def close(self) -> None:
        """End the shell on the machine."""
        if self._channel:
            self._channel.close()

    def _is_installed(self) -> bool:
        return self.sh(f"test -x {self._directory}/helper && echo yes || true") == "yes\n"

    def _install(self, sources: str) -> None:
        """Put the helper there: as it was compiled here, or where that does not run, as it is compiled there."""
        unpack = f"echo {sources} | base64 -d | tar xzf -"
        arch = self.sh(
            f"mkdir -p -m 0700 {REMOTE} && mkdir -p {self._directory} && cd {self._directory} && {unpack} && uname -m"
        )
        if built := _build_here(arch.strip()):
            packed = base64.b64encode(gzip.compress(built)).decode()
            self.sh(f"cd {self._directory} && : >helper.gz")
            for at in range(0, len(packed), PIECE):
                self.sh(f"cd {self._directory} && echo {packed[at : at + PIECE]} | base64 -d >>helper.gz")
        take = "gzip -dc helper.gz >helper.new && chmod 0755 helper.new && ./helper.new 9 ''"
        compile_there = COMPILE.format("helper.new")
        self.sh(f"cd {self._directory} && {{ ({take}) >/dev/null 2>&1 || {compile_there}; }} && mv helper.new helper")

    def remove_helper(self) -> None:
        """Leave nothing behind."""
        self.play(step("talk", self._client, ""))
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
        status, output, errors = self._run(f"exec {self._directory}/helper {deadline} {shlex.quote(text)}")
        if status:
            said = errors.strip().removeprefix("contract helper: ") or f"it ended with status {status}"
            raise HelperError(f"What the test does on the machine could not be done: {said}")
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
        one = step("talk", self._client, json.dumps(steps))
        (answer,) = self.play(one)
        if answer["rc"] < 0:
            self.sh(f"python3 {self._directory}/netlink.py serve")
            (answer,) = self.play(one)
        if answer["rc"]:
            raise HelperError(f"the netlink client ended with {answer['rc']}:\n{answer['text']}")
        return cast("list[Answer]", json.loads(answer["text"]))

    def python_command(self, program: str, *words: str) -> str:
        """Return the command that runs one of the helpers in Python on the machine."""
        return shlex.join(["python3", f"{self._directory}/{program}", *words])

    def netlink_command(self, *steps: tuple[str, dict[str, Any]]) -> str:
        """Return the command that runs steps of the netlink client on the machine."""
        return f"python3 {self._directory}/netlink.py {shlex.quote(json.dumps(steps))}"

    @property
    def _client(self) -> str:
        """Where the netlink client listens, once it was started."""
        return f"{self._directory}/client"

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
