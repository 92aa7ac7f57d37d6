"""Arguments by their names, as strace writes them."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket

import pytest

from kmodlab.modules import symbols, uapi, uapi_gen
from kmodlab.modules.symbols import CALLS, flags, named, number
from kmodlab.paths import project_dir

CASES = [
    ("openat", "Dpxm", "AT_FDCWD p 0x80000 00", "AT_FDCWD, p, O_RDONLY|O_CLOEXEC"),
    ("openat", "Dpxm", "AT_FDCWD p 0x241 0644", "AT_FDCWD, p, O_WRONLY|O_CREAT|O_TRUNC, 0644"),
    ("open", "pxm", "p 0x0 00", "p, O_RDONLY"),
    ("open", "pxm", "p 0x40 00", "p, O_RDONLY|O_CREAT, 000"),
    ("open", "pxm", "p 0x3 00", "p, 3"),
    ("mkdir", "pm", "p 0755", "p, 0755"),
    ("mmap", "*zxxfl", "0x0 8192 0x3 0x22 -1 0", "NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"),
    ("mmap", "*zxxfl", "0x7f 1 0x0 0x12 3 155648", "0x7f, 1, PROT_NONE, MAP_PRIVATE|MAP_FIXED, 3, 0x26000"),
    ("mprotect", "*zx", "0x7f 4096 0x1", "0x7f, 4096, PROT_READ"),
    ("socket", "iii", "1 526337 0", "AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0"),
    ("socket", "iii", "999 99 0", "999, SOCK_RAW|0x60, 0"),
    ("clone", "x****", "0x1200011 0x0 0x0 0x7f 0x0",
     "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, 0x7f, NULL"),
    ("clone", "x****", "0x11 0x0 0x0 0x0 0x0", "SIGCHLD, NULL, NULL, NULL, NULL"),
    ("futex", "*iu**u", "0x7f 393 0 0x0 0x0 4294967295",
     "0x7f, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 4294967295"),
    ("fcntl", "fi*", "3 1 0x5", "3, F_GETFD"),
    ("fcntl", "fi*", "3 2 0x1", "3, F_SETFD, FD_CLOEXEC"),
    ("fcntl", "fi*", "3 4 0x800", "3, F_SETFL, O_RDONLY|O_NONBLOCK"),
    ("fcntl", "fi*", "3 0 0x3", "3, F_DUPFD, 0x3"),
    ("kill", "ii", "12 9", "12, SIGKILL"),
    ("kill", "ii", "12 0", "12, 0"),
    ("tgkill", "iii", "1 2 34", "1, 2, SIGRT_2"),
    ("rt_sigprocmask", "i**z", "2 0x7f 0x0 8", "SIG_SETMASK, 0x7f, NULL, 8"),
    ("ioctl", "fx*", "1 0x5413 0x7f", "1, TIOCGWINSZ, 0x7f"),
    ("ioctl", "fx*", "1 0xdeadbeef 0x7f", "1, 0xdeadbeef, 0x7f"),
    ("newfstatat", "Dp*x", "3 p 0x7f 0x1100", "3, p, 0x7f, AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH"),
    ("newfstatat", "Dp*x", "3 p 0x7f 0x0", "3, p, 0x7f, 0"),
    ("unlinkat", "Dpx", "AT_FDCWD p 0x200", "AT_FDCWD, p, AT_REMOVEDIR"),
    ("faccessat2", "Dpix", "AT_FDCWD p 5 0x200", "AT_FDCWD, p, R_OK|X_OK, AT_EACCESS"),
    ("access", "pi", "p 0", "p, F_OK"),
    ("lseek", "fli", "3 -5 2", "3, -5, SEEK_END"),
    ("setsockopt", "fii*i", "3 1 2 0x7f 4", "3, SOL_SOCKET, SO_REUSEADDR, 0x7f, 4"),
    ("prlimit64", "iu**", "0 7 0x0 0x7f", "0, RLIMIT_NOFILE, NULL, 0x7f"),
    ("clock_nanosleep", "ix**", "1 0x1 0x7f 0x0", "CLOCK_MONOTONIC, TIMER_ABSTIME, 0x7f, NULL"),
    ("statx", "Dpxx*", "3 p 0x800 0x2 0x7f", "3, p, AT_STATX_SYNC_AS_STAT|AT_NO_AUTOMOUNT, STATX_MODE, 0x7f"),
    ("statx", "Dpxx*", "3 p 0x5000 0x0 0x7f", "3, p, AT_STATX_DONT_SYNC|AT_EMPTY_PATH, 0, 0x7f"),
    ("fadvise64", "flli", "3 0 0 2", "3, 0, 0, POSIX_FADV_SEQUENTIAL"),
    ("umask", "x", "0x12", "022"),
    ("unshare", "x", "0x20000000", "CLONE_NEWPID"),
    ("read", "f*z", "3 0x0 0", "3, NULL, 0"),
    ("no_such_call", "zz", "1 0x2", "1, 0x2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kinds", "arguments", "shown"), CASES, ids=lambda value: str(value)[:30])
def test_a_call_is_as_strace_writes_it(call: str, kinds: str, arguments: str, shown: str) -> None:
    assert ", ".join(named(call, kinds, arguments.split())) == shown


def test_text_and_what_is_missing_stay_as_they_are() -> None:
    assert named("openat", "Dpxm", ["AT_FDCWD", '"/tmp/0x1"', "?"]) == ["AT_FDCWD", '"/tmp/0x1"', "?"]
    assert named("openat", "", []) == []
    assert named("kill", "ii", ["5"]) == ["5"]


def test_bits_without_a_name_are_the_rest_in_hex() -> None:
    assert flags({1: "ONE", 6: "SIX", 2: "TWO"})(7) == "ONE|SIX"
    assert flags({1: "ONE", 6: "SIX", 2: "TWO"})(3) == "ONE|TWO"
    assert flags({1: "ONE"})(9) == "ONE|0x8"
    assert (flags({1: "ONE"})(0), flags({0: "NONE"})(0), flags({})(4)) == ("0", "NONE", "0x4")


@pytest.mark.parametrize(
    ("text", "value"), [("0x10", 16), ("-100", -100), ("0644", 0o644), ("00", 0), ("12", 12), ("?", None), ("08", None)]
)
def test_numbers_of_the_log(text: str, value: int | None) -> None:
    assert number(text) == value


def test_the_names_are_those_of_the_machines_own_modules() -> None:
    shown = symbols.open_flags(os.O_RDWR | os.O_DIRECTORY | os.O_NOFOLLOW)
    assert set(shown.split("|")) == {"O_RDWR", "O_DIRECTORY", "O_NOFOLLOW"}
    assert symbols.open_flags(os.O_WRONLY | os.O_SYNC) == "O_WRONLY|O_SYNC"
    assert symbols.open_flags(os.O_WRONLY | os.O_DSYNC) == "O_WRONLY|O_DSYNC"
    for one in signal.Signals:
        shown = symbols.signal_name(int(one))
        assert shown == one.name or shown.startswith("SIGRT"), one
    for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"):
        assert symbols.family(int(getattr(socket, name))) == name


def test_the_table_is_that_of_the_headers() -> None:
    """Of whatever version these are: a newer one has more names, and none of them for another number."""
    found = uapi_gen.tables()
    assert set(found) == set(uapi_gen.TABLES)
    for table, known in found.items():
        here = {name: value for value, name in known.items()}
        made = {name: value for value, name in getattr(uapi, table).items()}
        both = here.keys() & made.keys()
        assert len(both) > len(here) / 2, table
        assert {name: here[name] for name in both} == {name: made[name] for name in both}, table


def test_a_header_is_read() -> None:
    text = "#define A_GUARD\n#define A_ONE 1\n# define A_TWO\t0x2UL /* two */\n#define A_SUM (A_ONE | 2)\n"
    text += "#define A_BIT (1 << 4)\n"
    text += "#define B_ONE 1\nenum x {\n\tA_ENUM = 7,\n};\n#define A_OCT 010\n"
    found = dict(uapi_gen.named(text, r"A_\w+", "BIT"))
    assert found == {"A_ONE": 1, "A_TWO": 2, "A_ENUM": 7, "A_OCT": 8}


def test_every_call_is_one_that_the_tracer_knows() -> None:
    source = (project_dir() / "kernel" / "syscall_tracer" / "signature.c").read_text()
    # The first of two is the native one.
    known = dict(reversed(re.findall(r'\{ "(\w+)", "([^"]*)" \}', source)))
    for call, arguments in CALLS.items():
        assert max(arguments) < len(known[call]), call


def test_errors_that_only_the_kernel_knows_have_strace_words() -> None:
    from kmodlab.modules.show import result

    assert result("read", -512) == "? ERESTARTSYS (To be restarted if SA_RESTART is set)"
    assert result("open", -errno.EACCES) == "-1 EACCES (Permission denied)"
