"""Who has ended, as /proc/task_lister remembers it: each process once, with all that it had used."""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .readers.task_rows import number, parse_bin, parse_jsonl, parse_table
from .readers.tracer_words import refused
from .readers.wording import require_none, require_that, text_of
from .script import LISTER, script, step
from .selection import chosen, took

pytestmark = pytest.mark.task_lister

COLUMNS = (
    "exit,pid,tid,nspid,ppid,pgid,sid,id,comm,state,letter,kthread,uid,euid,gid,egid,peak,start,end,user,system,"
    "minflt,majflt,vcsw,icsw,prio,nice,policy,cpu,cgroup,code"
)
UNKNOWN = "vm,rss,shared,swap,threads,tty"
NS = 10**9
SLACK = 5 * 10**6
"""ns that a process may still use once its end was told."""

Ends = dict[str, Any]


@pytest.fixture(scope="module")
def ends(machine: Machine) -> Ends:
    """Processes that ended in many ways, and what there is of them."""
    command = machine.python_command("ends.py", f"{COLUMNS},{UNKNOWN}")
    (done,) = machine.once("ended", lambda: machine.play(step("sh", command)))
    require(done)
    return dict(json.loads(done["text"]))


def rows_of(ends: Ends, pid: int) -> list[dict[str, Any]]:
    """Return the ends of a process."""
    return [row for row in parse_jsonl(ends["all"]).rows if row["pid"] == pid]


def row_of(ends: Ends, what: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what wait4() said of a process, and the one end that it has."""
    said = ends["ways"][what]
    rows = rows_of(ends, said["pid"])
    require_that(len(rows) == 1, f"Who {what} has ended once.", f"{rows}")
    return said, rows[0]


WAYS = ("exits", "killed", "another", "named", "computes", "memory", "threads", "at once", "main first")


@pytest.mark.parametrize("what", WAYS)
def test_who_has_ended_is_shown_as_what_it_was(ends: Ends, what: str) -> None:
    """Whose child it was, from when to when, by which code it ended: as wait4() says, and its parent's clock."""
    said, row = row_of(ends, what)
    parent = ends["parent"]
    seen = {key: row[key] for key in ("tid", "nspid", "ppid", "state", "letter", "kthread", "code")}
    pid = said["pid"]
    wanted = {"tid": pid, "nspid": pid, "ppid": parent, "state": "DEAD", "letter": "X", "kthread": 0}
    require_that(seen == {**wanted, "code": said["status"]}, f"Who {what} is shown as it was.", f"{seen}")
    times = (said["begin"], row["start"], row["end"], said["end"])
    require_that(
        list(times) == sorted(times), "It starts after it was made, and ends before that is known.", f"{times}"
    )
    identity = row["start"] >> 10 << 22 | pid
    require_that(row["id"] == identity, "Its identity is that which it had.", f"{row['id']}, expected {identity}")
    unknown = [key for key in UNKNOWN.split(",") if row[key] is not None]
    require_none(unknown, "What it does not have any more is not known.")


def test_names_and_users_are_those_of_the_end(ends: Ends) -> None:
    """Who has taken another name, another user, ended with these."""
    _, named = row_of(ends, "named")
    require_that(named["comm"] == b'a "b\\', "The name is the last one.", f"{named['comm']!r}")
    _, another = row_of(ends, "another")
    ids = [another[key] for key in ("uid", "euid", "gid", "egid")]
    require_that(ids == [4321, 4321, 1234, 1234], "The ids are the last ones.", f"{ids}")
    _, same = row_of(ends, "exits")
    require_that([same[key] for key in ("uid", "euid", "gid", "egid")] == [0] * 4, "Root is root.", f"{same}")


@pytest.mark.parametrize("what", WAYS)
def test_what_it_had_used_is_what_wait4_says(ends: Ends, what: str) -> None:
    """Times, faults, switches of all threads, and the most memory, but for what the end itself takes."""
    said, row = row_of(ends, what)
    used, told = row["user"] + row["system"], (said["ru_utime"] + said["ru_stime"]) * NS
    # How long the end takes is anybody's guess: a processor that stands still meanwhile counts. That who computes has
    # its time is seen below. A real-time kernel switches where it waits for a lock.
    require_that(used <= told + SLACK, "The time is no more than what wait4() says.", f"{used}, {told}")
    least = {"minflt": said["ru_minflt"] * 0.9 - 20, "vcsw": said["ru_nvcsw"] * 0.5 - 100}
    for key, name in (("minflt", "ru_minflt"), ("vcsw", "ru_nvcsw")):
        require_that(least[key] <= row[key] <= said[name], f"{key} is what wait4() says.", f"{row}, {said}")
    peak = said["ru_maxrss"]
    require_that(abs(row["peak"] - peak) <= 1024, "`peak` is what wait4() says.", f"{row['peak']} KiB, {peak}")


def test_who_computes_has_its_time(ends: Ends) -> None:
    """Who computed for 0.3 s of its own, or of three threads, has that, most of it as a user."""
    for what in ("computes", "threads"):
        _, row = row_of(ends, what)
        require_that(row["user"] + row["system"] >= 0.29 * NS, f"Who {what} has used 0.3 s.", f"{row}")
    _, row = row_of(ends, "memory")
    require_that(row["peak"] > 40 << 10, "Who had 40 MiB had them.", f"{row['peak']} KiB")


def test_a_process_ends_once_however_its_threads_do(ends: Ends) -> None:
    """Of a process whose threads end at the same time there is one end; and nobody is left out of a storm."""
    for pid in (*ends["rounds"], *ends["storm"]):
        rows = rows_of(ends, pid)
        require_that(len(rows) == 1, "Each process ends once.", f"PID {pid}: {rows}")
    rows = parse_jsonl(ends["all"]).rows
    require_that(len({row["id"] for row in rows}) == len(rows), "No two have the same identity.", f"{len(rows)}")


def test_ends_are_numbered_without_a_gap(ends: Ends) -> None:
    """Numbers run on by one, in the order of the ends."""
    numbers = [number(row["exit"]) for row in parse_jsonl(ends["all"]).rows]
    require_that(numbers == list(range(numbers[0], numbers[0] + len(numbers))), "There is no gap.", f"{numbers}")


def test_who_has_ended_is_chosen_like_who_lives(ends: Ends) -> None:
    """By number, name, user, parent, state."""
    found = {key: parse_jsonl(ends[key]).rows for key in ("named", "another", "numbered", "children", "living")}
    ways = ends["ways"]
    for key, what in (("named", "named"), ("another", "another"), ("numbered", "killed")):
        pids = [row["pid"] for row in found[key]]
        require_that(pids == [ways[what]["pid"]], f"One was chosen: the {what} one.", f"{pids}")
    made = {said["pid"] for said in ways.values()} | {*ends["rounds"], *ends["storm"]}
    children = {row["pid"] for row in found["children"]}
    require_that(children == made, "All children were chosen, and nobody else.", f"{children ^ made}")
    require_that(found["living"] == [], "Who has ended is in no other state.", f"{found['living']}")


def test_the_ring_has_the_last_ones(machine: Machine) -> None:
    """`ended=16` remembers 16; a pass tells how many are not remembered, and where to go on."""
    module = find_module(machine, "task_lister")
    loaded = machine.play(module.unload(), module.load("ended=16"))
    require(*loaded)
    machine.play(step("sh", "for i in $(seq 40); do (:); done"))
    told = parse_table(took(machine.play(*chosen("ended=0 columns=exit,pid"))))
    whole = parse_table(took(machine.play(*chosen("ended=1 columns=exit"))))
    late = parse_table(took(machine.play(*chosen(f"ended={told.next} columns=exit"))))
    put_back(machine, module)
    numbers = [number(row["exit"]) for row in told.rows]
    require_that(len(numbers) == 16 and numbers[0] > 24, "The last 16 are there.", f"{numbers}")
    require_that((told.next, told.missed) == (numbers[-1] + 1, 0), "All that are remembered are there.", f"{told}")
    first = number(whole.rows[0]["exit"])
    require_that(whole.missed == first - 1, "Who asks for all is told how many are gone.", f"{whole}")
    require_that(late.missed == 0 and late.next >= told.next, "Who goes on has missed nobody.", f"{late}")


def test_where_nobody_is_remembered_that_is_said(machine: Machine) -> None:
    """`ended=0` remembers nobody, and a selection of who has ended fails with EOPNOTSUPP; 65537 is refused."""
    module = find_module(machine, "task_lister")
    require(*machine.play(module.unload(), module.load("ended=0")))
    (_, written, *_) = machine.play(*chosen("ended=0"))
    unloaded, many = machine.play(module.unload(), module.load("ended=65537"))
    put_back(machine, module)
    refused(written, "`ended=0` where nobody is remembered", errno.EOPNOTSUPP, "-EOPNOTSUPP")
    require(unloaded)
    require_that(many["rc"] != 0, "The module does not load with ended=65537.", f"{many}")


def test_a_pid_namespace_does_not_see_who_has_ended(machine: Machine) -> None:
    """Who has ended has no number in a PID namespace any more: there a selection of them fails with EPERM."""
    opened = (step("open", 0, LISTER, "rw"), step("fwrite", 0, "ended=0"), step("close", 0))
    (outer,) = machine.play(step("pidns", script(*opened)))
    refused(outer["inner"][1], "`ended=0` in a PID namespace", errno.EPERM, "-EPERM")


@pytest.mark.parametrize(
    "words", ["ended=", "ended=-1", "ended=x", "ended=0 threads=1", "ended=0 since=0 columns=id,state"]
)
def test_what_is_no_selection_of_ends_is_refused(machine: Machine, words: str) -> None:
    """A number that is none, threads, and what changed since: EINVAL."""
    (_, written, *_) = machine.play(*chosen(words))
    refused(written, f"`{words}`", errno.EINVAL, "-EINVAL from the parser")


def test_a_zombie_has_its_code(machine: Machine) -> None:
    """Who has ended and was not waited for is still listed, with the code that wait4() would say."""
    shell = f"""
    python3 -c 'import os, time
pid = os.fork()
if not pid: os._exit(9)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
with open("{LISTER}", "r+b", buffering=0) as file:
    file.write(b"columns=pid,code,end,exit format=jsonl pid=%d,%d" % (pid, os.getpid()))
    print(pid, os.getpid())
    print(file.read().decode(), end="")'
    """
    (done,) = machine.play(step("sh", shell))
    pids, _, text = done["text"].partition("\n")
    zombie, other = map(int, pids.split())
    rows = parse_jsonl(text).by_pid()
    unknown = {"end": None, "exit": None}
    require_that(rows[zombie] == {"pid": zombie, "code": 9 << 8, **unknown}, "A zombie has its code.", f"{rows}")
    require_that(rows[other] == {"pid": other, "code": None, **unknown}, "Who lives has none.", f"{rows}")


def test_a_main_thread_that_has_ended_tells_no_code(machine: Machine) -> None:
    """While a thread of it lives, nobody knows how the process will end: its row has no code."""
    program = f"""
import ctypes, os, threading, time
pid = os.getpid()
def look():
    while open(f"/proc/{{pid}}/task/{{pid}}/stat").read().rpartition(") ")[2][0] != "Z": time.sleep(0.01)
    with open("{LISTER}", "r+b", buffering=0) as file:
        file.write(b"columns=pid,state,code format=jsonl pid=%d" % pid)
        os.write(1, file.read())
    os._exit(7)
threading.Thread(target=look).start()
ctypes.CDLL(None).syscall({{"x86_64": 60, "aarch64": 93}}[os.uname().machine], 0)
"""
    (done,) = machine.play(step("sh", f"python3 -c {shlex.quote(program)}"))
    (row,) = parse_jsonl(done["text"]).rows
    require_that((done["rc"], row["state"], row["code"]) == (7, "ZOMBIE", None), "It has none.", f"{done} {row}")


def test_a_pass_of_ends_has_those_that_had_ended_when_it_began(machine: Machine) -> None:
    """One of more than a buffer comes to its end while others end; the next one goes on where it was."""
    words = f"ended=0 columns={COLUMNS} format=jsonl"
    machine.play(step("sh", "for i in $(seq 120); do (:); done"))
    opened, written, begun, _, rest, closed = machine.play(
        *chosen(words)[:2], step("fread", 0, bytes=300), step("sh", "for i in $(seq 30); do (:); done"),
        *chosen(words)[2:],
    )  # fmt: skip
    text = text_of(begun, LISTER) + text_of(rest, LISTER)
    first = parse_jsonl(took((opened, written, {**begun, "text": text}, closed)))
    second = parse_jsonl(took(machine.play(*chosen(f"ended={first.next} columns=exit,pid,id format=jsonl"))))
    numbers = [number(row["exit"]) for row in (*first.rows, *second.rows)]
    require_that(first.rows[-1]["exit"] == first.next - 1, "It ends with who had ended then.", f"{first.next}")
    require_that(len(second.rows) >= 30, "The next one has who ended since.", f"{second.rows}")
    require_that(numbers == list(range(numbers[0], second.next)), "Both together have all.", f"{numbers}")


def test_the_three_formats_say_the_same_of_ends(machine: Machine) -> None:
    """Table, JSON lines and binary records have the same values of the same ends."""
    columns = [*COLUMNS.split(","), *UNKNOWN.split(",")]
    until = parse_table(took(machine.play(*chosen("ended=0 columns=exit")))).next - 1
    table, jsonl, binary = (
        took(machine.play(*chosen(f"ended=1 columns={','.join(columns)} format={form}")))
        for form in ("table", "jsonl", "bin")
    )
    passes = [parse_table(table), parse_jsonl(jsonl), parse_bin(binary, columns, of_ended=True)]
    first, *others = ([row for row in one.rows if number(row["exit"]) <= until] for one in passes)
    require_that(len(first) > 10, "There are some.", f"{len(first)}")
    require_that(all(other == first for other in others), "They say the same.", f"{passes}")
    require_that(len({one.missed for one in passes}) == 1, "They have missed the same.", f"{passes}")
