"""The rows of the benchmark: each tracer, the commands that make it trace, and how it tells what it has seen.

Every row traces the same four calls for as long as the program `load` runs. The snippets are bash, run in the guest by
`harness.script`: `$OUT` is a directory in memory that is empty before and gone afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CALLS = ("getppid", "openat", "close", "unlinkat")
_NAMES = ",".join(CALLS)
#: what all are measured in, and its memory in MiB
IMAGE, MEMORY = "debian-12-peers", 1024
#: KiB for each processor that a tracer with a reader may fill before it is read; this project's socket has so many more
BUFFER = 4096

Group = Literal["floor", "module", "peer"]
#: how much the workload does: as its tracer can take
Pace = Literal["fast", "reader", "printer", "slow"]


@dataclass(frozen=True)
class Tracer:
    """One row.

    Attributes:
        key: its name in the JSON file and on the command line.
        label: its name for people.
        group: the least that a hook costs, this project's module, or one of its peers.
        sees: what it knows of a call.
        before: commands that prepare it.
        command: a program that runs beside the load, or, where `wraps` is set, starts it.
        wraps: whether `command` is put in front of the load.
        ready: a condition that holds once `command` traces.
        then: commands once it is ready.
        settled: a condition that holds once a reader has caught up.
        signal: what ends `command`.
        after: takes back what `before` did; run whatever happens.
        count: prints `event NAME N` for each call, or `event total N`, and `lost N` where the tool admits to any.
        version: prints the tool's version.
        absent: prints why it cannot run here, or nothing.
        reads: whether the events reach a reader.
        pace: how much is asked of it.
    """

    key: str
    label: str
    group: Group
    sees: str
    count: str
    before: str = ""
    command: str = ""
    wraps: bool = False
    ready: str = "true"
    then: str = ""
    settled: str = "steady $OUT/out"
    signal: str = "INT"
    after: str = ""
    version: str = "uname -r"
    absent: str = ""
    reads: bool = False
    pace: Pace = "fast"

    @property
    def shown(self) -> str:
        """The commands, as the page shows them."""
        command = f"{self.command} ./load ..." if self.wraps else self.command
        return "; ".join(part for part in (self.before, command, self.then) if part).replace("\n", "; ")


_FLOOR_COUNT = "echo event total $(cat /sys/module/floor/parameters/calls)"


def _floor(key: str, label: str, parameters: str, sees: str = "that it happens") -> Tracer:
    return Tracer(
        key=f"floor-{key}",
        label=label,
        group="floor",
        sees=sees,
        before=f"insmod floor.ko {parameters}",
        after="rmmod floor",
        count=_FLOOR_COUNT,
    )


_TRACED = (
    "echo untrace open read write close unlink >/proc/syscall_tracer\n"
    f"echo trace {' '.join('=' + name for name in CALLS)} >/proc/syscall_tracer"
)
_FILTERS = "\n".join(f"echo '={name}' block uid=65533 >/proc/syscall_tracer" for name in CALLS)
_ISSUED = """awk '/^Issued:/ {print "event total", $2} /^(Dropped|Missed):/ {lost += $2} END {print "lost", lost}' \
/proc/syscall_tracer_stats"""


def _module(key: str, label: str, parameters: str, *, sees: str = "entry", filters: str = "") -> Tracer:
    return Tracer(
        key=key,
        label=f"syscall_tracer, {label}",
        group="module",
        sees=sees,
        before="\n".join(part for part in (f"insmod syscall_tracer.ko {parameters}", _TRACED, filters) if part),
        after="rmmod syscall_tracer",
        count=_ISSUED,
        version="echo srcversion $(modinfo -F srcversion syscall_tracer.ko)",
    )


_NETLINK = Tracer(
    key="netlink",
    label="syscall_tracer, netlink to Python",
    group="module",
    sees="entry",
    # 256 bytes an entry.
    before=f"insmod syscall_tracer.ko hook=auto log_entries={BUFFER * 4}\n{_TRACED}",
    command=f"python3 listen.py {BUFFER} $OUT/ready",
    ready="[ -e $OUT/ready ]",
    # The last batch is sent within a tenth of a second.
    settled="sleep 0.5",
    after="rmmod syscall_tracer",
    count="cat $OUT/out",
    version="echo srcversion $(modinfo -F srcversion syscall_tracer.ko)",
    absent="insmod syscall_tracer.ko\n"
    "python3 listen.py 2>/dev/null || echo the module has no netlink family\n"
    "rmmod syscall_tracer",
    reads=True,
    pace="reader",
)


def _by_name(pattern: str, file: str) -> str:
    """Return a snippet that counts the lines of each call in a tool's output; `pattern` has NAME in it."""
    rules = "; ".join(f'/{pattern.replace("NAME", name)}/ {{ n["{name}"]++ }}' for name in CALLS)
    return f"awk '{rules}; END {{ for (name in n) print \"event\", name, n[name] }}' {file}"


def _strace(key: str, label: str, option: str) -> Tracer:
    return Tracer(
        key=key,
        label=label,
        group="peer",
        sees="entry, return",
        command=f"strace {option}-f -qq -o $OUT/out -e trace={_NAMES}",
        wraps=True,
        count=_by_name(" NAME[(]", "$OUT/out"),
        version="strace -V | sed -n 's/.*version /strace /p'",
        reads=True,
        pace="slow",
    )


_PERF = Tracer(
    key="perf-trace",
    label="perf trace",
    group="peer",
    sees="entry, return",
    command=f"perf trace -m {BUFFER}K -e {_NAMES} -o $OUT/out",
    wraps=True,
    count=_by_name(" NAME[(]", "$OUT/out") + "\nawk '/^LOST/ {n += $2} END {print \"lost\", n + 0}' $OUT/out",
    version="perf --version",
    reads=True,
    pace="printer",
)

_EVENTS = " ".join(f"-e syscalls:sys_enter_{name}" for name in CALLS)
_TRACE_CMD = Tracer(
    key="trace-cmd",
    label="trace-cmd record, syscall events",
    group="peer",
    sees="entry",
    command=f"trace-cmd record -q -b {BUFFER} {_EVENTS} -o $OUT/trace.dat",
    wraps=True,
    count="trace-cmd report -q -i $OUT/trace.dat >$OUT/text 2>/dev/null\n"
    + _by_name("sys_enter_NAME:", "$OUT/text")
    + "\ntrace-cmd report --stat -i $OUT/trace.dat 2>/dev/null |\n"
    "awk '/^(overrun|dropped events):/ {n += $NF} END {print \"lost\", n + 0}'",
    version="trace-cmd --version 2>&1 | awk '/version/ {print $1, $3}'",
    reads=True,
    pace="reader",
)

_TRACING = "/sys/kernel/tracing"
_STATS = (
    f"cat {_TRACING}/per_cpu/cpu*/stats |\n"
    "awk '/^(entries|overrun|dropped events):/ {n += $NF} /^dropped/ {lost += $NF}\n"
    'END {print "event total", n + 0; print "lost", lost + 0}\''
)
_SYSCALL_EVENTS = Tracer(
    key="tracefs-events",
    label="tracefs, syscall events",
    group="peer",
    sees="entry",
    before="\n".join(f"echo 1 >{_TRACING}/events/syscalls/sys_enter_{name}/enable" for name in CALLS),
    after=f"echo 0 >{_TRACING}/events/enable\necho >{_TRACING}/trace",
    count=_STATS,
)
_KPROBE_EVENTS = Tracer(
    key="tracefs-kprobes",
    label="tracefs, kprobe events",
    group="peer",
    sees="that it happens",
    before="\n".join(f"echo p:bench/{name} $(entry {name}) >>{_TRACING}/kprobe_events" for name in CALLS)
    + f"\necho 1 >{_TRACING}/events/bench/enable",
    after=f"echo 0 >{_TRACING}/events/enable\necho >{_TRACING}/kprobe_events\necho >{_TRACING}/trace",
    count=_STATS,
)


def _bpftrace(kind: str, *, printing: bool) -> Tracer:
    places = [f"tracepoint:syscalls:sys_enter_{n}" if kind == "tracepoint" else f"{kind}:$(entry {n})" for n in CALLS]
    action = 'printf(\\"%s %d %s\\\\n\\", probe, tid, comm)' if printing else "@[probe] = count()"
    pattern = r"sys_(enter_)?NAME"
    if printing:
        count = _by_name(f"{pattern} ", "$OUT/out")
    else:
        rules = "; ".join(f'/{pattern.replace("NAME", name)}\\]/ {{ print "event {name}", $NF }}' for name in CALLS)
        count = f"awk '{rules}' $OUT/out"
    return Tracer(
        key=f"bpftrace-{kind}-{'print' if printing else 'count'}",
        label=f"bpftrace {kind}, {'printing' if printing else 'counting'}",
        group="peer",
        sees="thread, command name" if printing else "that it happens",
        command=f'BPFTRACE_PERF_RB_PAGES={BUFFER // 4} bpftrace -q -B full -e "{",".join(places)} {{ {action}; }}"',
        ready="grep -q epoll_wait /proc/$pid/wchan",
        count=count + "\nawk '/^Lost/ {n += $2} END {print \"lost\", n + 0}' $OUT/out $OUT/err",
        version="bpftrace --version",
        reads=printing,
        pace="printer" if printing else "fast",
    )


_AUDITD = Tracer(
    key="auditd",
    label="auditd",
    group="peer",
    sees="entry, return",
    before="sed 's,^log_file = .*,log_file = /dev/shm/bench/audit.log,;"
    " s/^max_log_file_action = .*/max_log_file_action = ignore/' /etc/audit/auditd.conf"
    " >$OUT/auditd.conf\nauditctl --reset-lost >/dev/null",
    command="auditd -n -c $OUT",
    ready='auditctl -s | grep -qx "pid $pid"',
    then=f"auditctl -D >/dev/null\nauditctl -b {BUFFER * 4} >/dev/null\nauditctl -e 1 >/dev/null\n"
    f"auditctl -a always,exit -F arch=b64 -S {_NAMES}",
    # Else what waits for it would be logged, too.
    settled="auditctl -D >/dev/null; steady $OUT/audit.log",
    signal="TERM",
    after="silence_audit",
    count=_by_name("type=SYSCALL.* SYSCALL=NAME ", "$OUT/audit.log") + "\nauditctl -s | awk '/^lost/ {print}'",
    version="auditctl -v",
    reads=True,
    pace="slow",
)

_SYSDIG = Tracer(
    key="sysdig",
    label="sysdig",
    group="peer",
    sees="entry, return",
    before="modprobe scap",
    command=f"sysdig -v 'proc.name = load and evt.dir = < and evt.type in ({_NAMES})'",
    ready="ls -l /proc/$pid/fd | grep -q scap && sleep 1",
    after="rmmod scap",
    count=_by_name(" < NAME ", "$OUT/out") + "\nawk -F: '/^Driver Drops/ {print \"lost\", $2}' $OUT/out $OUT/err",
    version="sysdig --version",
    absent="modinfo scap >/dev/null 2>&1 || echo its kernel module does not build here",
    reads=True,
    pace="printer",
)

TRACERS: tuple[Tracer, ...] = (
    _floor("ftrace", "empty ftrace handler", "ftrace=1"),
    _floor("clock", "ftrace handler that reads the clock", "ftrace=1 clock=1", "when"),
    _floor("kprobe", "empty kprobe handler", "ftrace=0"),
    _module("ftrace", "hook=ftrace", "hook=ftrace"),
    _module("kprobe", "hook=kprobe", "hook=kprobe"),
    _module("enforcing", "enforcing, calls pass", "hook=auto enforce=1", filters=_FILTERS),
    _module("returns", "with return values", "hook=auto returns=1", sees="entry, return"),
    _NETLINK,
    _SYSCALL_EVENTS,
    _KPROBE_EVENTS,
    _TRACE_CMD,
    _PERF,
    *(_bpftrace(kind, printing=False) for kind in ("kfunc", "kprobe", "tracepoint")),
    *(_bpftrace(kind, printing=True) for kind in ("kfunc", "kprobe", "tracepoint")),
    _SYSDIG,
    _AUDITD,
    _strace("strace-seccomp", "strace --seccomp-bpf", "--seccomp-bpf "),
    _strace("strace", "strace", ""),
)
