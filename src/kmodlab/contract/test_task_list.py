"""/proc/task_lister says of every process what /proc says, whatever its layout is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from .machine import Machine
from .proc_measure import Process
from .readers.tables import unescaped
from .readers.task_pages import STATES, Task, parse_list
from .readers.tracer_page import escape
from .readers.wording import require_none, text_of, wrong
from .script import LISTER, call, read, script, step
from .zoo import ODD, PLAIN, Picture, Zoo, about_equal, comm_of, named, visit

pytestmark = pytest.mark.task_lister

CROWD = 3200
FEW = 20
"""Rows that there have to be before anything can be said of a column: any machine has more processes."""
PAGES_NOT_KB = "total_vm and get_mm_rss() count pages: times PAGE_SIZE / 1024"


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of the list."""
    return visit(machine, PLAIN, LISTER)


@pytest.fixture(scope="module")
def odd(machine: Machine) -> Zoo:
    """Processes that are hard to show, and pictures of the list."""
    return visit(machine, ODD, LISTER)


def row_of(zoo: Zoo, what: str) -> Iterator[tuple[Task, Process]]:
    """Give the row of an animal in each picture, and what /proc says of it."""
    for picture in zoo.pictures:
        process = picture.before[zoo.pids[what]]
        if process.pid not in picture.rows:
            wrong(f"/proc/task_lister has a row for each process, {what} among them.", f"{named(process)} is missing.")
        yield picture.rows[process.pid], process


def compare(picture: Picture, chosen: dict[int, Process], column: str, expected: Callable[[Process], int]) -> list[str]:
    """Return the differences between a column of numbers and what it should be; few rows are one as well."""
    rows = [picture.rows[pid] for pid in chosen if pid in picture.rows]
    if len(rows) < FEW:
        seen = f"{len(rows)} rows of {len(chosen)} processes were found."
        wrong("/proc/task_lister has a row for each process.", seen)
    return [
        f"{named(chosen[row.pid])}: {column} is {row.number(column)}, expected {expected(chosen[row.pid])}"
        for row in rows
        if row.number(column) != expected(chosen[row.pid])
    ]


@pytest.mark.quick
def test_every_process_is_listed_once(zoo: Zoo) -> None:
    """task_lister has one row for every process that /proc shows."""
    for picture in zoo.pictures:
        missing = [f"{named(process)} is missing" for pid, process in picture.steady.items() if pid not in picture.rows]
        hint = "for_each_process() visits them all; they take more than a page of 4096 bytes"
        require_none(missing, "/proc/task_lister has a row for every process.", hint)
        rows = Counter(task.pid for task in picture.listed.tasks)
        twice = [f"PID {pid} has {count} rows" for pid, count in rows.items() if count > 1]
        require_none(twice, "/proc/task_lister has one row for each process.", "one row a process, not one a thread")


def test_nothing_is_listed_that_proc_does_not_have(zoo: Zoo) -> None:
    """Every row is a process that /proc had before or after, or that was born in between."""
    for picture in zoo.pictures:
        strangers = sorted(picture.strangers(picture.rows))
        seen = [f"PID {pid} is listed, and /proc has no such process" for pid in strangers]
        require_none(seen, "/proc/task_lister has processes alone, no threads and none that ended.")


def test_a_process_that_ended_is_gone(machine: Machine) -> None:
    """A process that has ended and was reaped is not in the list."""
    ended, page = machine.play(call("getppid", "ended"), read(LISTER))
    if ended["pid"] in parse_list(text_of(page, LISTER)).by_pid():
        wrong("A process that has ended is not listed.", f"PID {ended['pid']} (`ended`) still is.")


@pytest.mark.quick
def test_parents_agree(zoo: Zoo) -> None:
    """PPID is the number of the process's parent."""
    for picture in zoo.pictures:
        seen = compare(picture, picture.steady, "PPID", lambda process: process.ppid)
        require_none(seen, "PPID is the parent's PID, as in /proc/PID/status.", "task->real_parent, its tgid")


def test_threads_agree(zoo: Zoo) -> None:
    """THREADS is the number of the process's threads."""
    for picture in zoo.pictures:
        seen = compare(picture, picture.steady, "THREADS", lambda process: process.threads)
        require_none(seen, "THREADS is the number of threads, as in /proc/PID/status.", "get_nr_threads()")


def test_ids_agree(zoo: Zoo) -> None:
    """UID and GID are those of the process's user and group."""
    for picture in zoo.pictures:
        seen = compare(picture, picture.steady, "UID", lambda process: process.uid)
        seen += compare(picture, picture.steady, "GID", lambda process: process.gid)
        require_none(seen, "UID and GID are the real ids, as in /proc/PID/status.", "task->cred->uid and gid")


def test_names_agree(zoo: Zoo) -> None:
    """COMMAND is the process's name; of a kernel thread /proc shows more, what it is working at."""
    for picture in zoo.pictures:
        rows = [picture.rows[pid] for pid in picture.steady if pid in picture.rows]
        if len(rows) < FEW:
            wrong("/proc/task_lister has a row for each process.", f"{len(rows)} rows of processes were found.")
        seen = [
            f"PID {row.pid}: COMMAND is `{row.text('COMMAND')}`, expected `{comm_of(picture.steady[row.pid])}`"
            for row in rows
            if not name_agrees(row, picture.steady[row.pid])
        ]
        require_none(seen, "COMMAND is the name of the process, as in /proc/PID/comm.", "task->comm")


def name_agrees(row: Task, process: Process) -> bool:
    """Whether a row has the name of a process. /proc alone adds to a kernel thread's."""
    if process.kernel_thread:
        return bool(row.text("COMMAND")) and process.comm.startswith(unescaped(row.text("COMMAND")))
    return row.is_named(process.comm)


def differing(picture: Picture, states: str, *, kernel: bool = False) -> list[str]:
    """Return the rows of processes in some of /proc's states that show another one."""
    seen = []
    for pid, process in picture.still.items():
        if process.state not in states or process.kernel_thread != kernel or pid not in picture.rows:
            continue
        if (shown := picture.rows[pid].state) != (expected := STATES[process.state]):
            seen.append(f"{named(process)}: STATE is {shown}, expected {expected}")
    return seen


@pytest.mark.quick
def test_states_agree(zoo: Zoo) -> None:
    """STATE says who runs, who sleeps, and who sleeps uninterruptibly."""
    for picture in zoo.pictures:
        seen = differing(picture, "RSD")
        require_none(seen, "STATE is the process's state, as in /proc/PID/status.", "task->__state")
    for row, process in row_of(zoo, "a running process"):
        if row.state != "RUNNING":
            wrong("A process that computes all the time is RUNNING.", f"{named(process)}: STATE is {row.state}.")


def test_zombies_are_shown_as_what_they_are(zoo: Zoo) -> None:
    """A process that has ended and is not reaped is a ZOMBIE."""
    for row, process in row_of(zoo, "a zombie"):
        if row.state != "ZOMBIE":
            seen = f"{named(process)}: STATE is {row.state}, expected ZOMBIE"
            wrong("A process that has ended and waits for its parent is a ZOMBIE.", seen, "it is in task->exit_state")


def test_stopped_processes_are_shown_as_what_they_are(zoo: Zoo) -> None:
    """A process that was stopped is STOPPED, one that a debugger has stopped is TRACED."""
    for what in ("a stopped process", "a traced process"):
        for row, process in row_of(zoo, what):
            if row.state != PLAIN[what].state:
                seen = f"{named(process)}: STATE is {row.state}, expected {PLAIN[what].state}"
                wrong("A stopped process is STOPPED, one that a debugger has stopped TRACED.", seen, "__TASK_STOPPED")


def test_kernel_threads_are_listed(zoo: Zoo) -> None:
    """Kernel threads are listed: children of kthreadd, without memory."""
    for picture in zoo.pictures:
        threads = [process for process in picture.steady.values() if process.kernel_thread]
        missing = [f"{named(process)} is missing" for process in threads if process.pid not in picture.rows]
        require_none(missing, "Kernel threads are listed, too.")


def test_kernel_threads_are_idle(zoo: Zoo) -> None:
    """A kernel thread that has nothing to do is IDLE."""
    for picture in zoo.pictures:
        seen = differing(picture, "I", kernel=True)
        require_none(seen, "A kernel thread that waits for work is IDLE.", "TASK_IDLE, or task_state_to_char()")
        shown = [row.state for row in picture.rows.values() if row.text("COMMAND").startswith("kworker")]
        if "IDLE" not in shown:
            wrong("A kworker that waits for work is IDLE.", f"Of {len(shown)} kworkers none is.")


@pytest.mark.parametrize("what", [what for what in ODD if "name" not in what])
def test_an_odd_process_is_listed_as_what_it_is(what: str, odd: Zoo) -> None:
    """{what} is listed with its state, parent, threads, user and group."""
    animal = ODD[what]
    for row, process in row_of(odd, what):
        asked = f"The row of {what}, {named(process)}, says what it is."
        shown = (row.state, *(row.number(key) for key in ("PPID", "THREADS", "UID", "GID")))
        expected = (animal.state, process.ppid, animal.threads, animal.uid, animal.gid)
        names = ("STATE", "PPID", "THREADS", "UID", "GID")
        seen = [f"{key} is {one}, expected {other}" for key, one, other in zip(names, shown, expected, strict=True)]
        require_none([text for text, a, b in zip(seen, shown, expected, strict=True) if a != b], asked)


@pytest.mark.parametrize("what", [what for what in ODD if "name" in what])
def test_an_odd_name_is_escaped(what: str, odd: Zoo) -> None:
    """{what} is one word of its row: bytes that do not print, blanks and backslashes are written in octal."""
    expected = escape(ODD[what].comm) or "\\000"
    for row, process in row_of(odd, what):
        if (shown := row.text("COMMAND")) != expected:
            asked = "Each byte of a name outside `!`..`~`, and the backslash, is written as \\ooo."
            wrong(asked, f"PID {process.pid}, {what}: COMMAND is `{shown}`, expected `{expected}`.")


def test_the_parent_of_a_traced_process_is_not_its_tracer(odd: Zoo) -> None:
    """A process that another one traces keeps its real parent."""
    tracer = odd.pids["the process that traces it"]
    for row, process in row_of(odd, "a process traced by another"):
        if row.number("PPID") != process.ppid or row.number("PPID") == tracer:
            seen = f"{named(process)}: PPID is {row.number('PPID')}, expected {process.ppid}"
            wrong("A traced process keeps its parent.", seen, "task->real_parent, not task->parent")


def test_memory_agrees(zoo: Zoo) -> None:
    """VM and RSS are those of /proc/PID/status in KB, within the kernel's own counting slack."""
    for picture in zoo.pictures:
        seen = []
        for pid, process in picture.steady.items():
            if process.kernel_thread or pid not in picture.rows:
                continue
            for key, measured in (("VM", "vm_kb"), ("RSS", "rss_kb")):
                shown = picture.rows[pid].number(key)
                known = [getattr(one, measured) for one in (process, picture.after[pid])]
                if not about_equal(shown, *known):
                    seen.append(f"{named(process)}: {key} is {shown}, expected {known[0]} KB")
        require_none(seen, "VM and RSS are in KB, as VmSize and VmRSS of /proc/PID/status.", PAGES_NOT_KB)


def test_the_memory_of_a_still_process_is_exact(zoo: Zoo) -> None:
    """The address space of a process that does nothing is exact; memory that it touched is resident."""
    for row, process in row_of(zoo, "a process with 24 MiB"):
        asked = f"{named(process)} has an address space of {process.vm_kb} KB, and 24 MiB in memory."
        if row.number("VM") != process.vm_kb:
            wrong(asked, f"VM is {row.number('VM')}.", PAGES_NOT_KB)
        if not 24 * 1024 <= row.number("RSS") <= 40 * 1024:
            wrong(asked, f"RSS is {row.number('RSS')}.", PAGES_NOT_KB)


def test_a_process_without_memory_of_its_own_shows_none(zoo: Zoo) -> None:
    """Kernel threads and zombies have no memory: 0. All others have some."""
    for picture in zoo.pictures:
        seen = []
        for pid, process in picture.steady.items():
            if pid not in picture.rows:
                continue
            vm, rss = (picture.rows[pid].number(key) for key in ("VM", "RSS"))
            if process.kernel_thread or process.state == "Z":
                seen += [f"{named(process)}: VM is {vm} and RSS {rss}, expected 0 and 0"] if vm or rss else []
            elif not vm:
                seen.append(f"{named(process)}: VM is 0, expected {process.vm_kb}")
        require_none(seen, "Kernel threads and zombies have no memory, all others have.", "task->mm is NULL for them")


def test_the_total_is_the_number_of_rows(zoo: Zoo) -> None:
    """`Total processes listed: N` counts the rows above it."""
    for picture in zoo.pictures:
        rows, total = len(picture.listed.tasks), picture.listed.total
        if total is None:
            wrong("Below the rows stands `Total processes listed: N`.", "There is no such line.")
        if total != rows:
            wrong("`Total processes listed: N` counts the rows.", f"There are {rows} rows, and N is {total}.")


def test_the_page_size_is_the_machines(machine: Machine, zoo: Zoo) -> None:
    """`Page size:` is the machine's."""
    shown, expected = zoo.pictures[0].listed.page_size, int(machine.sh("getconf PAGESIZE"))
    if shown != expected:
        wrong(f"The last line is `Page size: {expected} bytes`.", f"The page size shown is {shown}.")


def test_any_buffer_size_lists_everything_once(machine: Machine) -> None:
    """Read in pieces of 1, 7, 61, 4096 bytes and 1 MiB, the list has every process that lives on, once."""
    sizes = (1, 7, 61, 4096, 1 << 20)
    reads = [step("read", LISTER, size) for size in sizes]
    members, pids, *answers = machine.play(step("crowd", 150), step("pids"), *reads, step("pids"))
    alive = (set(pids["pids"]) & set(answers.pop()["pids"])) | set(members["pids"])
    for size, answer in zip(sizes, answers, strict=True):
        found = Counter(task.pid for task in parse_list(text_of(answer, LISTER)).tasks)
        seen = [f"PID {pid} has {found[pid]} rows" for pid in sorted(alive) if found[pid] != 1]
        asked = f"Read {size} bytes at a time, the list has each process once."
        require_none(seen, asked, "a read goes on where the one before it ended: *ppos, or *pos of seq_file")


def test_thousands_of_processes_are_listed_completely(machine: Machine) -> None:
    """With more than 3,000 processes at once, each is listed, once."""
    crowd, *answers = machine.play(step("crowd", CROWD), read(LISTER), step("read", LISTER, 1000), step("disband"))
    if len(crowd["pids"]) < 3000:
        pytest.skip(f"the machine allows no more than {len(crowd['pids'])} processes more")
    for answer in answers[:2]:
        found = Counter(task.pid for task in parse_list(text_of(answer, LISTER)).tasks)
        seen = [f"PID {pid} has {found[pid]} rows" for pid in crowd["pids"] if found[pid] != 1]
        require_none(seen, f"Of {len(crowd['pids'])} processes more, each is listed once.", "no array of a fixed size")


def test_processes_that_end_between_two_reads_do_no_harm(machine: Machine) -> None:
    """A list that is half read when hundreds of processes end goes on with those that remain."""
    steps = [
        step("spawn", "sleeper", "early"), step("crowd", 400), step("sh", "(sleep 1000 >/dev/null 2>&1 & echo $!)"),
        step("open", 0, LISTER, "r"), step("fread", 0, bytes=9000), step("disband"), step("fread", 0), step("close", 0),
    ]  # fmt: skip
    early, _, after, _, begun, _, rest, _ = machine.play(*steps)
    machine.play(step("sh", f"kill {int(after['text'])}"))
    rows = parse_list(text_of(begun, LISTER) + rest["text"]).by_pid()
    missing = [f"PID {pid} is missing" for pid in (1, 2, early["pid"], int(after["text"])) if pid not in rows]
    asked = "Who lives all the while is listed, also where 400 others end between two reads."
    require_none(missing, asked, "between two reads keep a number, and no pointer")


def test_a_pid_namespace_shows_its_own_processes_only(machine: Machine) -> None:
    """In a PID namespace with its own /proc, the list has the processes of that namespace, numbered as there."""
    inner = step("pidns", script(step("spawn", "sleeper", "inner"), read(LISTER), step("pids")))
    outer, page = machine.play(inner, read(LISTER))
    made, inside, pids = outer["inner"]
    rows = parse_list(text_of(inside, LISTER)).by_pid()
    asked = "In a PID namespace with its own /proc the list is that of the namespace."
    if set(rows) != set(pids["pids"]):
        seen = f"It has the PIDs {sorted(rows)[:9]}, expected {sorted(pids['pids'])}."
        wrong(asked, seen, "proc_pid_ns() of the file's superblock, task_tgid_nr_ns()")
    parents = [(rows[pid].number("PPID"), expected) for pid, expected in ((1, 0), (made["pid"], 1))]
    require_none([f"PPID is {shown}, expected {expected}" for shown, expected in parents if shown != expected], asked)
    if len(parse_list(text_of(page, LISTER)).tasks) <= 10:
        wrong("Outside the namespace the list is that of the machine.", "It has no more than 10 rows.")


def test_a_user_namespace_sees_the_ids_it_can_name(machine: Machine) -> None:
    """A reader in a user namespace without mappings sees every id as the overflow id 65534."""
    (outer,) = machine.play(step("userns", script(read(LISTER))))
    if trouble := outer.get("trouble"):
        pytest.skip(f"the machine allows no user namespace: {trouble}")
    rows = parse_list(text_of(outer["inner"][0], LISTER)).tasks
    seen = [f"PID {row.pid}: UID is {row.number('UID')}" for row in rows if row.number("UID") != 65534]
    seen += [f"PID {row.pid}: GID is {row.number('GID')}" for row in rows if row.number("GID") != 65534]
    require_none(seen, "A user namespace without mappings sees all ids as 65534.", "from_kuid_munged()")
    if not rows:
        wrong("A user namespace sees the list.", "It has no rows.")
