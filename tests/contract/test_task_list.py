"""/proc/task_lister agrees with /proc, for every process, in particular for odd ones."""

from __future__ import annotations

import pytest

from .machine import Machine
from .proc_measure import Process
from .script import LISTER, call, read, script, step
from .task_pages import STATES, Task, parse_list
from .tracer_page import escape
from .zoo import ZOO, Zoo, switches, visit

pytestmark = pytest.mark.task_lister

CROWD = 3200
SLACK_KB = 1024
"""The kernel counts resident pages in batches for each thread; what is not yet added up may be missing."""


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of them."""
    return visit(machine)


def shown_name(raw: bytes) -> str:
    """The escaped name, which is never an empty word."""
    return escape(raw) or "\\000"


def name_agrees(task: Task, process: Process) -> bool:
    """The name is the kernel's; /proc alone adds to a kernel thread's what it is working at, or its full name."""
    if process.kernel_thread:
        return escape(process.comm).startswith(task.comm)
    return task.comm == shown_name(process.comm)


def about_equal(shown_kb: int, *measured_kb: int) -> bool:
    """Memory as it was at some time between the measurements, give or take the kernel's own batches."""
    slack = SLACK_KB + max(measured_kb) // 20
    return min(measured_kb) - slack <= shown_kb <= max(measured_kb) + slack


@pytest.mark.quick
def test_every_process_is_listed_once_as_proc_shows_it(zoo: Zoo) -> None:
    """task_lister shows every process that /proc shows, once: same PID, parent, name, threads, user, group."""
    for picture in zoo.pictures:
        rows, steady = picture.listed.by_pid(), picture.steady()
        assert len(rows) == len(picture.listed.tasks)
        assert set(steady) <= set(rows), f"missing: {[steady[pid] for pid in set(steady) - set(rows)]}"
        for pid, process in steady.items():
            row = rows[pid]
            expected = (process.ppid, process.threads, process.uid, process.gid)
            assert (row.ppid, row.threads, row.uid, row.gid) == expected, f"{row} is not {process}"
            assert name_agrees(row, process), f"{row} is not {process}"


def test_nothing_is_listed_that_proc_does_not_have(zoo: Zoo) -> None:
    """Every row is a process that /proc had before or after, or that was born in between."""
    for picture in zoo.pictures:
        strangers = picture.strangers(picture.listed.by_pid())
        assert not strangers, [row for row in picture.listed.tasks if row.pid in strangers]


def test_states_agree(zoo: Zoo) -> None:
    """The state of every process that did not run meanwhile is that of /proc/PID/stat."""
    for picture in zoo.pictures:
        rows, after = picture.listed.by_pid(), picture.after
        still = {pid: one for pid, one in picture.steady().items() if switches(one) == switches(after[pid])}
        assert len(still) > len(ZOO)
        wrong = {pid for pid, process in still.items() if rows[pid].state != STATES[process.state]}
        assert not wrong, [rows[pid] for pid in wrong]


@pytest.mark.parametrize("what", list(ZOO))
def test_an_odd_process_is_listed_as_what_it_is(what: str, zoo: Zoo) -> None:
    """{what} is listed once, with its exact state, name, parent, threads, user and group."""
    animal = ZOO[what]
    for picture, row in zip(zoo.pictures, zoo.rows(what), strict=True):
        expected = (shown_name(animal.comm), animal.state, animal.threads, animal.uid, animal.gid)
        assert (row.comm, row.state, row.threads, row.uid, row.gid) == expected
        assert row.ppid == picture.before[row.pid].ppid


@pytest.mark.quick
def test_the_zoo_is_listed_as_what_it_is(zoo: Zoo) -> None:
    """A zombie, stopped, traced, sleeping, many-threaded, renamed, oddly named process is shown as what it is."""
    for what, animal in ZOO.items():
        for row in zoo.rows(what):
            expected = (shown_name(animal.comm), animal.state, animal.threads, animal.uid, animal.gid)
            assert (row.comm, row.state, row.threads, row.uid, row.gid) == expected, what


def test_the_parent_of_a_traced_process_is_not_its_tracer(zoo: Zoo) -> None:
    """A process that another one traces keeps its real parent."""
    victim, tracer = zoo.rows("a process traced by another"), zoo.rows("the process that traces it")
    assert all(row.ppid == other.ppid != other.pid for row, other in zip(victim, tracer, strict=True))


def test_memory_agrees(zoo: Zoo) -> None:
    """VM and RSS are those of /proc/PID/status in KB, within the kernel's own counting slack."""
    for picture in zoo.pictures:
        for pid in picture.steady():
            row, before, after = picture.listed.by_pid()[pid], picture.before[pid], picture.after[pid]
            assert about_equal(row.vm_kb, before.vm_kb, after.vm_kb), (row, before)
            assert about_equal(row.rss_kb, before.rss_kb, after.rss_kb), (row, before)


def test_the_memory_of_a_still_process_is_exact(zoo: Zoo) -> None:
    """The address space of a process that does nothing is exact; memory that it touched is resident."""
    pid = zoo.pids["a process with 24 MiB"]
    for picture in zoo.pictures:
        row = picture.listed.by_pid()[pid]
        assert row.vm_kb == picture.before[pid].vm_kb
        assert row.vm_kb >= 48 * 1024
        assert 24 * 1024 <= row.rss_kb <= 40 * 1024


def test_a_process_without_memory_of_its_own_shows_none(zoo: Zoo) -> None:
    """Kernel threads and zombies have no memory: 0."""
    for picture in zoo.pictures:
        rows = picture.listed.by_pid()
        for pid, process in picture.steady().items():
            if process.kernel_thread or process.state == "Z":
                assert (rows[pid].vm_kb, rows[pid].rss_kb) == (0, 0), rows[pid]
            else:
                assert rows[pid].vm_kb > 0, rows[pid]


def test_kernel_threads_are_idle_children_of_kthreadd(zoo: Zoo) -> None:
    """Kernel threads are listed: children of kthreadd, without memory, idle workers as IDLE."""
    picture = zoo.pictures[0]
    threads = [pid for pid, process in picture.steady().items() if process.kernel_thread]
    rows = [picture.listed.by_pid()[pid] for pid in threads]
    assert len(rows) > 5
    assert all(row.ppid == (0 if row.pid == 2 else 2) for row in rows)
    assert all((row.vm_kb, row.rss_kb) == (0, 0) for row in rows)
    assert "IDLE" in {row.state for row in rows if row.comm.startswith("kworker")}


def test_the_page_size_is_the_machines(machine: Machine, zoo: Zoo) -> None:
    """`Page size:` is the machine's."""
    assert zoo.pictures[0].listed.page_size == int(machine.sh("getconf PAGESIZE"))


def test_any_buffer_size_lists_everything_once(machine: Machine) -> None:
    """Read in pieces of 1, 7, 61, 4096 bytes and 1 MiB, the list has every process that lives on, once, ascending."""
    crowd = step("crowd", 150)
    reads = [step("read", LISTER, size) for size in (1, 7, 61, 4096, 1 << 20)]
    members, pids, *answers = machine.play(crowd, step("pids"), *reads, step("pids"))
    alive = set(pids["pids"]) & set(answers.pop()["pids"])
    assert set(members["pids"]) <= alive
    for answer in answers:
        listed = parse_list(answer["text"])
        assert alive <= set(listed.by_pid())


def test_thousands_of_processes_are_listed_completely(machine: Machine) -> None:
    """With more than 3,000 processes at once, each is listed, once."""
    crowd, *answers = machine.play(step("crowd", CROWD), read(LISTER), step("read", LISTER, 1000), step("disband"))
    if len(crowd["pids"]) < 3000:
        pytest.skip(f"the machine allows no more than {len(crowd['pids'])} processes more")
    for answer in answers[:2]:
        listed = parse_list(answer["text"]).by_pid()
        missing = set(crowd["pids"]) - set(listed)
        assert not missing, f"{len(missing)} of {len(crowd['pids'])} are missing, among them {sorted(missing)[:9]}"


def test_processes_that_end_between_two_reads_do_no_harm(machine: Machine) -> None:
    """A list that is half read when hundreds of processes end goes on with those that remain."""
    steps = [
        step("spawn", "sleeper", "early"), step("crowd", 400), step("open", 0, LISTER, "r"),
        step("fread", 0, bytes=9000), step("disband"), step("spawn", "sleeper", "late"),
        step("fread", 0), step("close", 0), step("pids"),
    ]  # fmt: skip
    answers = machine.play(*steps)
    early, crowd, late, alive = answers[0]["pid"], set(answers[1]["pids"]), answers[5]["pid"], set(answers[8]["pids"])
    listed = set(parse_list(answers[3]["text"] + answers[6]["text"]).by_pid())
    assert {1, 2, early} <= listed
    assert late in listed or late < max(crowd), "a process that started behind the cursor is listed"
    assert len(listed - alive) < 400


def test_a_pid_namespace_shows_its_own_processes_only(machine: Machine) -> None:
    """In a PID namespace with its own /proc, the list has the processes of that namespace, numbered as there."""
    inner = step("pidns", script(step("spawn", "sleeper", "inner"), read(LISTER), step("pids")))
    outer, listed = machine.play(inner, read(LISTER))
    made, inside, pids = outer["inner"]
    rows = parse_list(inside["text"]).by_pid()
    assert set(rows) == set(pids["pids"]) == {1, made["pid"]}
    assert (rows[1].ppid, rows[made["pid"]].ppid) == (0, 1)
    assert rows[made["pid"]].comm == "inner"
    assert len(parse_list(listed["text"]).tasks) > 10


def test_a_user_namespace_sees_the_ids_it_can_name(machine: Machine) -> None:
    """A reader in a user namespace without mappings sees every id as the overflow id 65534."""
    (outer,) = machine.play(step("userns", script(read(LISTER))))
    if trouble := outer.get("trouble"):
        pytest.skip(f"the machine allows no user namespace: {trouble}")
    rows = parse_list(outer["inner"][0]["text"]).tasks
    assert {(row.uid, row.gid) for row in rows} == {(65534, 65534)}


def test_a_process_that_ended_is_gone(machine: Machine) -> None:
    """A process that has ended and was reaped is not in the list."""
    ended, listed = machine.play(call("getppid", "ended"), read(LISTER))
    assert ended["pid"] not in parse_list(listed["text"]).by_pid()
