"""`kmodlab trace run` where it is hard: numbers used again, programs that begin in odd ways, paths in odd places."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from kmodlab.guest import Guest

from .client import settings, tracing


@pytest.fixture(scope="module")
def traced(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest with the tracer and the client."""
    with tracing(guest, tmp_path_factory.mktemp("traced")):
        guest.succeed("mkdir -p /mine && touch /mine/file")
        yield guest


def lines(guest: Guest, program: str, options: str = "-e open,exec", status: int = 0) -> list[str]:
    """Trace a program; return the lines that are shown, once its exit status was this one and all was put back."""
    before = settings(guest)
    done = guest.execute(f"kmodlab trace run {options} -o /tmp/lines -- {program} >/dev/null; exit $?", seconds=120)
    assert done.status == status, done.stderr
    assert settings(guest) == before
    return guest.succeed("cat /tmp/lines").splitlines()


def python(program: str) -> str:
    """Return the command that runs this."""
    return f"python3 -c {shlex.quote(program)}"


def opened(shown: list[str]) -> list[str]:
    """Return the paths below /mine that were opened, in their order."""
    return re.findall(r'"/mine/(\S*?)"', "\n".join(line for line in shown if "open" in line))


@pytest.fixture
def few_numbers(traced: Guest) -> Iterator[Guest]:
    """A machine that uses the numbers of its processes again and again, for others have children all the time."""
    most = traced.succeed("cat /proc/sys/kernel/pid_max").strip()
    strangers = "while :; do ( (read x </foreign) 2>/dev/null; : ); done"
    traced.succeed("echo 500 >/proc/sys/kernel/pid_max")
    traced.succeed(f"systemd-run -q --unit strangers bash -c {shlex.quote(strangers)}")
    yield traced
    traced.succeed(f"systemctl stop strangers; echo {most} >/proc/sys/kernel/pid_max")


def test_no_stranger_is_shown_who_has_a_used_number(few_numbers: Guest) -> None:
    """Numbers of ended children become strangers', who have children of their own; each own call is shown once."""
    mine = "for i in $(seq 400); do ( (read x </mine/$i) 2>/dev/null; : ); done; true"
    shown = lines(few_numbers, f"bash -c {shlex.quote(mine)}")
    used = {line[: line.index("]")] for line in shown if line.startswith("[pid")}
    assert sorted(map(int, opened(shown))) == list(range(1, 401))
    assert len(used) < 380, "no number was used again: this tests nothing"
    assert [line for line in shown if "/foreign" in line] == []


def test_a_thread_that_is_not_the_first_becomes_another_program(traced: Guest) -> None:
    """exec() by a thread ends the others and takes the process's number: what the new program does is shown."""
    program = """
import os, threading, time
threading.Thread(target=lambda: os.execv("/bin/cat", ["cat", "/mine/file"])).start()
time.sleep(60)
"""
    assert opened(lines(traced, python(program))) == ["file"]


@pytest.mark.parametrize("call", ["fork()", "vfork()", "syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0)"])
def test_a_child_is_followed_however_it_came(call: str, traced: Guest) -> None:
    """fork, vfork, and the flag that keeps ptrace from a child: its calls are shown, and its exec."""
    program = f"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{{
        char *words[] = {{ "cat", "/mine/file", 0 }};
        static char path[] = "/mine/parent";
        long child = {call};
        if (!child) {{
                execv("/bin/cat", words);
                _exit(1);
        }}
        waitpid(child, 0, 0);
        /* Without --returns a path is read where it is in memory already. */
        path[1] = 'm';
        open(path, O_RDONLY);
        return 0;
}}
"""
    traced.succeed("cat >/root/child.c; cc -o /root/child /root/child.c", stdin=program.encode())
    shown = lines(traced, "/root/child")
    assert opened(shown) == ["file", "parent"], shown
    assert [line for line in shown if re.match(r"\[pid +\d+\] execve", line)], shown


def test_who_is_traced_already_is_traced_all_the_same(traced: Guest) -> None:
    """A debugger and its program are two of the tree; neither notices."""
    program = """
import ctypes, os
ptrace = ctypes.CDLL(None).ptrace
pid = os.fork()
if not pid:
    ptrace(0, 0, 0, 0)
    os.execv("/bin/cat", ["cat", "/mine/file"])
while os.WIFSTOPPED(os.waitpid(pid, 0)[1]):
    ptrace(7, pid, 0, 0)
"""
    assert opened(lines(traced, python(program))) == ["file"]


def test_each_of_many_threads_has_its_calls(traced: Guest) -> None:
    """64 threads open a file of their own each: each is shown once, with the number of its thread."""
    program = """
import os, threading
def work(number):
    os.close(os.open("/mine/file", os.O_RDONLY))
    try: os.open("/mine/%d" % number, os.O_RDONLY)
    except OSError: pass
threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
for one in threads: one.start()
for one in threads: one.join()
"""
    shown = [line for line in lines(traced, python(program)) if "/mine/" in line]
    told = [re.fullmatch(r'\[pid +(\d+)\] openat\(AT_FDCWD, "/mine/(\w+)", .*', line) for line in shown]
    assert None not in told, shown
    own = {found[2]: found[1] for found in told if found and found[2] != "file"}
    assert own.keys() == {str(number) for number in range(64)}
    assert len(set(own.values())) == 64
    assert sorted(own.values()) == sorted(found[1] for found in told if found and found[2] == "file")


def test_paths_at_the_end_of_a_page_and_in_one_that_nobody_touched(traced: Guest) -> None:
    """One ends where memory does; one is in a file that is mapped and was not read yet: both are told at the return."""
    program = r"""
import ctypes, mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
anywhere = [ctypes.c_void_p(0), ctypes.c_size_t(8192), 3, 0x22, -1, ctypes.c_long(0)]
place = libc.mmap(*anywhere)
libc.munmap(ctypes.c_void_p(place + 4096), ctypes.c_size_t(4096))
path = b"/mine/end\0"
ctypes.memmove(place + 4096 - len(path), path, len(path))
libc.open(ctypes.c_void_p(place + 4096 - len(path)), 0)
with open("/root/path", "rb") as file:
    far = libc.mmap(ctypes.c_void_p(0), ctypes.c_size_t(4096), 1, 2, file.fileno(), ctypes.c_long(0))
libc.open(ctypes.c_void_p(far), 0)
libc.open(ctypes.c_void_p(4096), 0)
"""
    traced.succeed(r"printf '/mine/untouched\000' >/root/path; sync; echo 3 >/proc/sys/vm/drop_caches")
    shown = lines(traced, python(program), "--returns -e open")
    assert opened(shown) == ["end", "untouched"]
    assert re.fullmatch(r"open(at)?\((AT_FDCWD, )?0x[0-9a-f]+000, O_RDONLY\) = -1 EFAULT .*", shown[-1]), shown[-1]


def test_who_is_killed_has_made_its_calls(traced: Guest) -> None:
    """What ends by kill -9 has its calls shown, and ends this command alike."""
    shown = lines(traced, "bash -c 'read x </mine/file; kill -9 $$'", status=128 + 9)
    assert opened(shown) == ["file"]


def test_the_next_one_puts_back_what_a_killed_one_has_left(traced: Guest) -> None:
    """A client that was killed with all its unit has put nothing back; after the next one all is as it was."""
    before = settings(traced)
    program = "sleep 1000"
    traced.succeed(f"systemd-run -q --unit killed kmodlab trace run --returns -e getpid,chmod -- {program}")
    traced.machine.wait_until_succeeds(f"pgrep -fx {shlex.quote(program)}")
    traced.succeed("systemctl kill -s KILL killed")
    traced.machine.wait_until_succeeds(f"! pgrep -fx {shlex.quote(program)}")
    assert settings(traced) != before
    traced.succeed("kmodlab trace run -e getppid -o /tmp/lines -- true")
    assert settings(traced) == before
