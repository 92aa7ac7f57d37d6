"""/proc/pid: a PID is written, and what is read is of that task, in whatever words."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from testinfra.host import Host

from kmodlab.grading.expect import quoted, require

#: as much of the file as anyone may make us read. Not `head -c`: who ignores how much is asked for gives it more than
#: that at the end, and then it goes on for ever.
READ = "dd if=/proc/pid bs=4096 count=100 status=none"
MARK = "--- kmodlab ---"
#: more than any task's: PID_MAX_LIMIT in include/linux/threads.h is one more
NOBODY = 4194303


@dataclass(frozen=True)
class State:
    """A state of a task, as modules tell it.

    Attributes:
        name: for people.
        bit: that the kernel's number has, and that of the other state here has not. Source: include/linux/sched.h, of
            which TASK_INTERRUPTIBLE is 1, __TASK_STOPPED 4; other bits, as TASK_FREEZABLE, came and went.
        words: that stand for it, in small letters.
    """

    name: str
    bit: int
    words: frozenset[str]

    def told(self, words: list[str]) -> bool:
        """Whether one of these words is the state."""
        return any(self._is(word.lower()) for word in words)

    def _is(self, word: str) -> bool:
        if not re.fullmatch(r"0x[0-9a-f]{1,8}|\d{1,10}", word):
            return word in self.words
        number = int(word, 16 if word.startswith("0x") else 10)
        return number & (ASLEEP.bit | STOPPED.bit) == self.bit


ASLEEP = State("asleep", 1, frozenset({"s", "sleep", "sleeping", "asleep", "interruptible", "task_interruptible"}))
STOPPED = State("stopped", 4, frozenset({"t", "stop", "stopped", "task_stopped", "__task_stopped"}))


@dataclass(frozen=True)
class Asked:
    """A process, and what the file showed after its PID had been written.

    Attributes:
        name: the process's.
        pid: the process's.
        text: what was shown.
    """

    name: str
    pid: int
    text: str

    def words(self) -> list[str]:
        """Return the words that may be the state: those after `state`, or all but name and PID where none is named."""
        rest = re.sub(rf"\b{self.pid}\b", " ", self.text.replace(self.name, " "))
        named = re.search(r"stat(?:e|us)\W*(\w+(?:\W+\w+)?)", rest, re.IGNORECASE)
        return re.findall(r"\w+", named[1] if named else rest)


def ask(host: Host, chance: random.Random, signal: str = "") -> Asked:
    """Start a process with a name that nobody knows before, and ask for it."""
    name = f"n{chance.getrandbits(40):010x}"
    stop = f"kill -{signal} $!; " if signal else ""
    start = f"ln -s /bin/sleep /tmp/{name}; /tmp/{name} 60 & sleep 0.3; {stop}sleep 0.2"
    text = host.run(f"{start}; echo $!; echo '{MARK}'; echo $! >/proc/pid; {READ}; kill -9 $!").stdout
    pid, _, shown = text.partition(MARK)
    return Asked(name, int(pid), shown)


def require_task(asked: Asked) -> None:
    """Check that name and PID are shown."""
    hint = "find_vpid() and pid_task() find the task; its name is `comm`, its number `pid`."
    what = f"command `{asked.name}` and PID {asked.pid}, which was written to `/proc/pid`"
    shown = asked.name in asked.text and str(asked.pid) in re.findall(r"\d+", asked.text.replace(asked.name, " "))
    require(shown, what, quoted(asked.text), hint)


def test_the_file_can_be_written(host: Host) -> None:
    """With the PID of a task that there always is."""
    written = host.run("echo 1 >/proc/pid")
    hint = "Your write function returns the number of bytes that it took, or a negative error."
    require(written.rc == 0, "`echo 1 >/proc/pid` succeeds", quoted(written.stderr), hint)


def test_command_and_pid_are_shown(host: Host, chance: random.Random) -> None:
    """Of two processes, one after the other."""
    for _ in range(2):
        require_task(ask(host, chance))


def test_the_state_is_shown(host: Host, chance: random.Random) -> None:
    """As a number or in words, as whoever wrote the module liked."""
    hint = "A task's state is `__state` since Linux 5.14, and was `state` before; read it when the file is read."
    for signal, wanted in (("", ASLEEP), ("STOP", STOPPED)):
        asked = ask(host, chance, signal)
        what = f"the state of PID {asked.pid}, which is {wanted.name}: {wanted.bit} or a word for it"
        require(wanted.told(asked.words()), what, quoted(asked.text), hint)


def test_a_pid_that_nobody_has(host: Host, chance: random.Random) -> None:
    """A read shows no task then, not even the last one, and the kernel goes on."""
    before = ask(host, chance)
    shown = host.run(f"echo {NOBODY} >/proc/pid; {READ}").stdout
    hint = "pid_task() gives NULL where no task has that PID."
    require(before.name not in shown, f"no task, for none has the PID {NOBODY}", quoted(shown), hint)


def test_what_is_no_pid(host: Host, chance: random.Random) -> None:
    """Words, an empty line, a negative number, and more than any number has digits."""
    bad = ("echo hello", "echo", "echo -1", "head -c 5000 /dev/zero", "printf 1%.0s $(seq 3000)")
    host.run("; ".join(f"{words} >/proc/pid; {READ} >/dev/null" for words in bad))
    asked = ask(host, chance)
    hint = "kstrtoint_from_user() takes any length, and gives an error for what is no number."
    shown = asked.name in asked.text or str(asked.pid) in asked.text
    require(shown, f"after words and numbers that are no PID: the task with PID {asked.pid}", quoted(asked.text), hint)
