"""`kmodlab trace` in a guest, with the tracer itself: the program of one file, and the guest's Python."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.paths import project_dir

from .client import settings, tracing

ROOT = project_dir()


@pytest.fixture(scope="module")
def traced(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest with the tracer loaded, and with the client as the role makes it; what tests change they put back."""
    with tracing(guest, tmp_path_factory.mktemp("traced")):
        yield guest


CALLS = r"""
import ctypes, mmap, os, socket as s
c = ctypes.CDLL(None)
os.access(b"/tmp/a b\x1b,c\"d\\", 0); os.access("/" + "y" * 300, 0)
for a in (0, 8, 1 << 63): c.unlinkat(-100, ctypes.c_void_p(a), 0)
far = "/tmp/" + "z" * 200
os.mkdir("/tmp/made", 0o1750); os.chmod("/tmp/made", 0o4755); os.rename("/tmp/made", far); os.rmdir(far)
u = s.AF_UNIX
v6 = ("::1", "::ffff:1.2.3.4", "::1.2.3.4", "fe80::5efe:1.2.3.4", "1:0:0:2::5", "1:0:2:3:4:5:6:7", "2001:db8::")
there = [(s.AF_INET, ("127.0.0.1", 9)), *((s.AF_INET6, (a, 9)) for a in v6)]
for f, a in [*there, (u, "/tmp/no where"), (u, "\0abs"), (u, "x" * 107)]:
    with s.socket(f, s.SOCK_DGRAM) as one: one.connect_ex(a)
os.lseek(os.open("/etc/passwd", os.O_RDONLY), -3, os.SEEK_END)
with open("/proc/self/comm", "w") as f: f.write("a b\\c\t")
os.getppid()
# As a 32-bit program: pread64(-1, NULL, 8, 4294967298), by int 0x80.
code = "53 b8b4000000 bbffffffff 31c9 ba08000000 be02000000 bf01000000 cd80 5b c3"
m = mmap.mmap(-1, 4096, prot=7)
m.write(bytes.fromhex(code))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
"""
"""Calls with arguments of every kind."""

COLLECT = """
import contextlib, json, subprocess, sys
from kmodlab.modules import Tracer
from kmodlab.modules.decode import comm_text
names = "access mkdir chmod rename rmdir connect lseek getppid".split()
with Tracer() as tracer, contextlib.closing(tracer.stream()) as stream:
    tracer.trace(names)
    subprocess.run([sys.executable, "-c", sys.stdin.read()], check=True)
    tracer.trace(names, on=False)
    issued = tracer.issued()
    found = []
    while stream.behind(issued):
        stream.receive(5)
        found += stream.take()
    page = open("/proc/syscall_tracer").read()
    shown = [{**vars(tracer.record(row)), "column": tracer.signature(row).column(row)} for row in found]
    print(json.dumps([page, shown, stream.lost]))
"""


COLUMNS = (
    "call",
    "pid",
    "jiffies",
    "status",
    "tid",
    "uid",
    "cpu",
    "comm",
    "abi",
    "returned",
    "latency",
    "seq",
    "column",
)
SAME = ("call", "pid", "jiffies", "tid", "uid", "cpu", "comm", "abi", "seq", "column")


def test_the_client_shows_what_the_kernel_shows(traced: Guest) -> None:
    """Every record that came over netlink is in /proc/syscall_tracer, and reads the same there, field by field."""
    collect = f"cat >/tmp/calls; PYTHONPATH=/usr/local/bin/kmodlab python3 -c '{COLLECT}' </tmp/calls"
    text, shown, lost = json.loads(traced.succeed(collect, stdin=CALLS.encode()))
    page = {(row[6], row[11]): row for line in text.splitlines() if len(row := line.split()) == 13}
    assert lost == 0
    assert len({record["call"] for record in shown}) > 10
    for record in shown:
        words = page[str(record["cpu"]), str(record["seq"])]
        same = dict(zip(COLUMNS, words, strict=True))
        assert same == {**same, **{name: str(record[name]) for name in SAME}}
    assert [record["column"] for record in shown if record["abi"] == 32] == ["-1,0x0,8,4294967298"]
    columns = " ".join(record["column"] for record in shown)
    for part in (
        '"/tmp/a\\040b\\033,c\\042d\\134"',
        'yy"...',
        "0x8000000000000000",
        "inet6:[::ffff:1.2.3.4]:9",
        "01750",
    ):
        assert part in columns


def test_a_program_its_children_and_its_status(traced: Guest) -> None:
    before = settings(traced)
    script = "cat /nonexistent 2>/dev/null; (unlink /tmp/none 2>/dev/null &); kill -TERM $$"
    run = "kmodlab trace run --returns -e open,unlink,exec -o /tmp/lines"
    result = traced.execute(f"{run} -- sh -c '{script}'; exit $?")
    assert result.status == 128 + 15, result.stderr
    lines = traced.succeed("cat /tmp/lines").splitlines()
    assert re.fullmatch(r'execve\("/usr/bin/sh", 0x[0-9a-f]+, 0x[0-9a-f]+\) = 0 <0\.\d{6}>', lines[0])
    child = r"\[pid +\d+\] "
    opened = (
        rf'{child}openat\(AT_FDCWD, "/nonexistent", O_RDONLY\) = -1 ENOENT \(No such file or directory\) <0\.\d{{6}}>'
    )
    assert any(re.fullmatch(opened, line) for line in lines), lines
    assert any(re.match(rf'{child}unlink(at)?\(.*"/tmp/none"', line) for line in lines), lines
    assert all(re.match(rf"({child})?(open|openat|unlink|unlinkat|execve)\(", line) for line in lines), lines
    assert settings(traced) == before


def test_options_of_strace(traced: Guest) -> None:
    """A program runs as another user; of what it does there are times, files for threads, a table that is piped."""
    before = settings(traced)
    run = "rm -f /tmp/apart.*; kmodlab trace run -ff -tt -Z -e %file -P /nonexistent -o /tmp/apart -E NEW=1 -u nobody"
    shown = traced.succeed(f"{run} -- sh -c 'cat /nonexistent 2>&1; echo $NEW; id -un; cat /proc/self/comm'")
    assert shown == "cat: /nonexistent: No such file or directory\n1\nnobody\ncat\n"
    lines = traced.succeed("cat /tmp/apart.*").splitlines()
    failed = r'openat\(AT_FDCWD, "/nonexistent", O_RDONLY\) = -1 ENOENT \(No such file or directory\) <0\.\d{6}>'
    assert len(lines) == 1
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{6}} {failed}", lines[0]), lines
    table = "kmodlab trace run -C -S name -e '%process,%desc' -e '!%memory,read' -o '|tee /tmp/piped >/dev/null'"
    assert traced.succeed(f"{table} -- cat /etc/hostname") == traced.succeed("cat /etc/hostname")
    calls, _, rows = traced.succeed("cat /tmp/piped").partition("% time")
    names = [line.split()[-1] for line in rows.splitlines()[2:-2]]
    assert names == sorted(names)
    assert {"close", "execve", "exit_group", "openat", "write"} <= set(names), names
    assert not {"brk", "mmap", "read"} & set(names), names
    assert set(names) == set(re.findall(r"(?m)^(\w+)\(", calls))
    assert settings(traced) == before


def test_a_flood_is_counted_whole_or_told_to_be_short(traced: Guest) -> None:
    flood = "dd if=/dev/zero of=/dev/null bs=1 count=50000 status=none"
    result = traced.execute(f"kmodlab trace run -c --json -o /tmp/counts -e read,write -- {flood}")
    counts = json.loads(traced.succeed("cat /tmp/counts"))
    for call in ("read", "write"):
        assert 50000 - counts["lost"] <= counts["calls"][call]["calls"] <= 50010
    assert bool(counts["lost"]) == ("records were lost" in result.stderr)


@pytest.mark.parametrize(
    "interrupted",
    [
        "(until pgrep -f '^sleep 300' >/dev/null; do sleep 0.3; done; sleep 1; printf '\\003') | "
        "script -qec '{}' /dev/null",
        "timeout --preserve-status -s INT 3 {}",
        "timeout --preserve-status -s TERM 3 {}",
    ],
    ids=["terminal", "INT", "TERM"],
)
def test_interrupted(traced: Guest, interrupted: str) -> None:
    """The program ends, all that was changed is as it was, and the shell sees what ended it."""
    before = settings(traced)
    result = traced.execute(interrupted.format("kmodlab trace run --returns -e getppid -- sleep 300"), seconds=60)
    assert result.status in (130, 143), result.stderr
    assert settings(traced) == before
    assert traced.succeed("pgrep -x sleep; true") == ""


def test_two_at_once(traced: Guest) -> None:
    """The first to end leaves the second one's calls traced, and the second leaves nothing."""
    before = settings(traced)
    program = 'until [ -e /tmp/go-{0} ]; do sleep 0.1; done; python3 -c "import os; os.getppid()"'
    run = "kmodlab trace run --returns -e getppid -o /tmp/lines-{0} -- sh -c '" + program + "' & pid_{0}=$!"
    ready = "until [ $(ls /run/kmodlab-trace | grep -c claim) = {} ]; do sleep 0.1; done"
    parts = ("rm -f /tmp/go-*", run.format(1), ready.format(1), run.format(2), ready.format(2))
    end = "touch /tmp/go-{0}; wait $pid_{0} || exit"
    shown = traced.succeed("\n".join([*parts, end.format(1), end.format(2), "cat /tmp/lines-*"]))
    assert len(re.findall(r"^\[pid +\d+\] getppid\(\) = \d+ <", shown, re.MULTILINE)) == 2, shown
    assert settings(traced) == before


HOG = """
open("/proc/self/oom_score_adj", "w").write("1000")
kept = []
while True:
    kept.append(b"x" * (1 << 20))
"""
"""Takes all the memory that there is, and is what the kernel then kills."""

UNDER_PRESSURE = """
import contextlib, os, subprocess, sys
from kmodlab.errors import KmodlabError
from kmodlab.modules import Filter, Tracer
done, refused = 0, 0
for _ in range(3):
    hog = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
    with Tracer() as tracer, contextlib.closing(tracer.stream()) as stream:
        while hog.poll() is None:
            try:
                tracer.trace(["getppid"])
                os.getppid()
                open("/proc/syscall_tracer").read()
                stream.receive(0)
                stream.take()
                tracer.trace(["getppid"], on=False)
                done += 1
            except (OSError, KmodlabError):
                refused += 1
    assert hog.returncode == -9, hog.returncode
with Tracer() as tracer:
    tracer.trace(["getppid"], on=False)
    status = tracer.status()
assert status.issued == status.logged + status.overwritten + status.dropped, status
print(done, refused)
"""


def test_memory_runs_out(traced: Guest) -> None:
    """While the kernel has no memory left the tracer is read, changed and listened to; nothing breaks or leaks."""
    before = settings(traced)
    traced.succeed("dmesg -C")
    python = "PYTHONPATH=/usr/local/bin/kmodlab python3"
    done, _ = traced.succeed(f"{python} -c {shlex.quote(UNDER_PRESSURE)} {shlex.quote(HOG)}", seconds=300).split()
    assert int(done) > 0
    log = traced.succeed("dmesg")
    assert log.count("Out of memory: Killed process") == 3
    assert not re.search(r"WARNING|BUG|Oops|syscall_tracer.*error", log), log
    assert settings(traced) == before


def test_watching(traced: Guest) -> None:
    before = settings(traced)
    watch = "kmodlab trace watch -e uname --uid 65534 -n 1"
    caller = "while :; do setpriv --reuid nobody uname >/dev/null; sleep 0.1; done"
    shown = traced.succeed(f"({caller}) & {watch}; kill $!")
    assert re.fullmatch(r"uname\[\d+\] uname\(0x[0-9a-f]+\) = \?\n", shown)
    assert len(traced.succeed("kmodlab trace watch --json | head -n 3").splitlines()) == 3
    assert settings(traced) == before


def test_filters(traced: Guest) -> None:
    traced.succeed(
        "kmodlab trace filter add unlink block errno=EACCES 'path=/tmp/a\\040b'; kmodlab trace filter add =open allow"
    )
    assert traced.succeed("kmodlab trace filter list").splitlines() == [
        "unlink: BLOCK errno=EACCES path=/tmp/a\\040b",
        "=open: ALLOW",
    ]
    page = traced.succeed("sed '1,/^Active/d' /proc/syscall_tracer")
    assert page.splitlines()[1:] == traced.succeed("kmodlab trace filter list").splitlines()
    shown = traced.execute("touch '/tmp/a b'; kmodlab trace run -e unlink -- rm '/tmp/a b'").stderr
    assert shown.endswith(" = ? [BLOCKED]\n")
    traced.succeed("kmodlab trace filter delete =open; kmodlab trace filter clear")
    assert traced.succeed("kmodlab trace filter list") == "No filters active\n"


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("kmodlab trace run -- no-such-program", 127, "no-such-program: no such program"),
        ("kmodlab trace run -- /etc/passwd", 126, "/etc/passwd is not executable"),
        ("kmodlab trace run -e unlnk -- true", 2, "this kernel has no system call unlnk\n  hint: did you mean unlink"),
        ("kmodlab trace filter add getpid block path=/x", 1, "is refused: it takes no path (EINVAL)"),
        ("setpriv --reuid nobody --clear-groups kmodlab trace status", 1, "it takes root (CAP_SYS_ADMIN"),
        ("unshare -n kmodlab trace status", 3, "a network namespace of its own"),
    ],
)
def test_errors(traced: Guest, command: str, status: int, words: str) -> None:
    result = traced.execute(command)
    assert (result.status, result.stdout) == (status, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_without_the_module(traced: Guest) -> None:
    result = traced.execute(
        "rmmod syscall_tracer; kmodlab trace run -- true; s=$?; insmod /root/syscall_tracer.ko; exit $s"
    )
    assert result.status == 3
    assert "the module syscall_tracer is not loaded on this machine\n  hint: `modprobe syscall_tracer`" in result.stderr


@pytest.fixture
def listed(traced: Guest, tmp_path: Path) -> Iterator[Guest]:
    """The same guest with the lister."""
    module = BuildRoot.of_image(traced.image).make(ROOT / "kernel/task_lister", "-j2", output=tmp_path)
    traced.copy_to(Path(module), "/root/task_lister.ko")
    traced.succeed("insmod /root/task_lister.ko")
    yield traced
    traced.succeed("rmmod task_lister")


def test_tasks_are_chosen_listed_and_watched(listed: Guest) -> None:
    """`kmodlab tasks` has what ps has; --watch tells who comes and who goes; who may not choose is told so."""
    listed.succeed("systemd-run -q --unit mine -p User=games sleep 1000")
    ours = json.loads(listed.succeed("kmodlab tasks -C sleep -u $(id -u games) --json -o pid,ppid,uid,comm,id,state"))
    pid = int(listed.succeed("systemctl show -P MainPID mine"))
    games = int(listed.succeed("id -u games"))
    assert (ours["pid"], ours["ppid"], ours["uid"], ours["comm"]) == (pid, 1, games, "sleep")
    theirs = {int(line) for line in listed.succeed("ps -N --ppid 2 -o pid=").split()}
    found = {int(line.split()[0]) for line in listed.succeed("kmodlab tasks --tree -o pid,comm").splitlines()[1:]}
    assert pid in theirs & found
    assert len(theirs & found) > 5
    watch = "timeout -s INT 5 kmodlab tasks --watch 0.5 --json -C sleep -o pid"
    told = listed.succeed(f"({watch}; true) & sleep 2; systemctl stop mine; wait")
    changes = [(line["change"], line["pid"]) for line in map(json.loads, told.splitlines())]
    assert changes[0] == ("+", pid)
    assert ("-", pid) in changes
    refused = listed.execute("setpriv --reuid=games --clear-groups kmodlab tasks")
    assert (refused.status, "takes root" in refused.stderr) == (2, True), refused
    listed.succeed("setpriv --reuid=games --clear-groups sh -c 'kill -9 $$'; true")
    ended = listed.succeed("kmodlab tasks --ended -u $(id -u games)").splitlines()
    assert [line.split()[2:4] for line in ended[1:]] == [[str(games), code] for code in ("SIGTERM", "2", "SIGKILL")]
    watch = "timeout -s INT 4 kmodlab tasks --ended --watch 0.2 --json -C 'short*' -o code"
    told = listed.succeed(f"({watch}; true) & sleep 1; cp /bin/true /root/short; /root/short; wait")
    assert [json.loads(line) for line in told.splitlines()] == [{"code": 0}]
    wrong = listed.execute("kmodlab tasks -o pid,nonsense")
    assert "the kernel refuses" in wrong.stderr
    assert 'refused "nonsense": no such column' in listed.succeed("dmesg | tail -n 1")
