"""/proc/pid: a PID is written, and what is read is of that task."""

from __future__ import annotations

import re
import secrets

from testinfra.host import Host

#: as much of the file as anyone may make us read
READ = "head -c 10000 /proc/pid"
#: how states are told: as a number, of which these bits tell, or in words. Source: include/linux/sched.h, of which
#: TASK_INTERRUPTIBLE is 1, __TASK_STOPPED 4; other bits, as TASK_FREEZABLE, came and went.
ASLEEP = (1, {"s", "sleeping", "interruptible", "task_interruptible"})
STOPPED = (4, {"t", "stopped", "task_stopped", "__task_stopped"})


def tells(word: str, state: tuple[int, set[str]]) -> bool:
    """Whether a word or number is that state."""
    bit, words = state
    number = int(word, 16 if word.startswith("0x") else 10) if word.removeprefix("0x").isdigit() else 0
    return bool(number & bit) or word.lower() in words


def ask(host: Host, signal: str = "") -> tuple[str, int, str]:
    """Start a process with a name that nobody knows before, ask for it, and return name, PID and what was shown."""
    name = f"n{secrets.token_hex(5)}"
    stop = f"kill -{signal} $!; " if signal else ""
    start = f"ln -s /bin/sleep /tmp/{name}; /tmp/{name} 60 & sleep 0.3; {stop}sleep 0.2"
    text = host.check_output(f"{start}; echo $!; echo $! >/proc/pid; {READ}; kill -9 $!")
    pid, _, shown = text.partition("\n")
    return name, int(pid), shown


def test_the_file_can_be_written(host: Host) -> None:
    """With the PID of a task that there always is."""
    written = host.run("echo 1 >/proc/pid")
    assert written.rc == 0, written.stderr


def test_command_and_pid_are_shown(host: Host) -> None:
    """Of two processes, one after the other."""
    for _ in range(2):
        name, pid, shown = ask(host)
        assert name in shown, f"{name} is not in {shown[:200]!r}"
        assert str(pid) in re.findall(r"\d+", shown), f"{pid} is not in {shown[:200]!r}"


def test_the_state_is_shown(host: Host) -> None:
    """As a number or in words, as whoever wrote the module liked."""
    for signal, wanted in (("", ASLEEP), ("STOP", STOPPED)):
        name, _, shown = ask(host, signal)
        words = re.search(r"state\W*(\w+)", shown.replace(name, ""), re.IGNORECASE)
        assert words, f"no state in {shown[:200]!r}"
        told = f"expected {wanted[0]} or one of {sorted(wanted[1])}, seen {shown[:200]!r}"
        assert tells(words.group(1), wanted), told


def test_a_pid_that_nobody_has(host: Host) -> None:
    """A read shows no task then, and the kernel goes on."""
    shown = host.run(f"echo 4194303 >/proc/pid; {READ}").stdout
    assert not re.search(r"command\W+\w", shown, re.IGNORECASE), f"it shows {shown[:200]!r}"
    assert ask(host)[0], "it works afterwards"


def test_what_is_no_pid(host: Host) -> None:
    """Words, an empty line, a negative number, and more than any number has digits."""
    bad = ("echo hello", "echo", "echo -1", "head -c 5000 /dev/zero", "printf 1%.0s $(seq 3000)")
    host.run("; ".join(f"{words} >/proc/pid; {READ} >/dev/null" for words in bad))
    name, _, shown = ask(host)
    assert name in shown, f"afterwards {name} is not in {shown[:200]!r}"
