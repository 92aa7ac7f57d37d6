"""What is written to /proc/task_lister chooses tasks, columns and format, for this open file alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from .machine import Machine
from .readers.task_pages import parse_list
from .readers.task_rows import LETTERS, POLICIES, STATES, Pass, Value, number, parse_bin, parse_jsonl, parse_table
from .readers.tracer_words import refused
from .readers.wording import require_none, require_that, text_of
from .script import LISTER, nonce, read, step
from .selection import PASSES, SHELL, STORM, chosen, took
from .zoo import ODD, PLAIN, Animal

pytestmark = pytest.mark.task_lister

ANIMALS: dict[str, Animal] = {**PLAIN, **{what: one for what, one in ODD.items() if "name" in what}}
NUMBERS = ("pid", "tid", "nspid", "ppid", "pgid", "sid", "id", "threads", "uid", "euid", "gid", "egid")
MEMORY = ("vm", "rss", "shared", "swap", "peak")
USAGE = ("user", "system", "minflt", "majflt", "vcsw", "icsw")
REST = (
    "comm",
    "state",
    "letter",
    "kthread",
    "start",
    "prio",
    "nice",
    "policy",
    "cpu",
    "tty",
    "cgroup",
    "exit",
    "end",
    "code",
)
EVERY = (*NUMBERS, *MEMORY, *USAGE, *REST)
TABLE = ("pid", "ppid", "comm", "state", "vm", "rss", "threads", "uid", "gid")
ALL = f"columns={','.join(EVERY)}"
TICK = 10**7
"""ns of a tick of /proc/PID/stat."""
BATCH = 1024
"""KiB by which the kernel's own batches may be off."""


def select(machine: Machine, words: str) -> Pass:
    """Return all that a selection in JSON lines shows."""
    return parse_jsonl(took(machine.play(*chosen(f"{words} format=jsonl"))))


@dataclass(frozen=True)
class Look:
    """All tasks, in each format, between two looks at /proc."""

    pids: Mapping[str, int]
    before: Mapping[int, dict[str, int]]
    after: Mapping[int, dict[str, int]]
    jsonl: Pass
    table: Pass
    bin: Pass

    def pairs(self, field: str) -> Iterator[tuple[int, Value, int, int]]:
        """Give of each process that was there all the time: PID, what is shown, and what /proc said both times."""
        rows = self.jsonl.by_pid()
        for pid in self.before.keys() & self.after.keys() & rows.keys():
            yield pid, rows[pid][field], self.before[pid][field], self.after[pid][field]


def measured(files: Mapping[str, str]) -> dict[str, int]:
    """Return the fields of a process as /proc/PID/stat and /proc/PID/status have them."""
    words = files["stat"].rsplit(") ", 1)[1].split()
    status = dict(line.split(":\t", 1) for line in files["status"].splitlines() if ":\t" in line)
    stat = dict(enumerate(words, 3))
    kib = {key: int(value.split()[0]) for key, value in status.items() if value.endswith(" kB")}
    uids, gids = status["Uid"].split(), status["Gid"].split()
    return {
        **{key: int(stat[at]) for key, at in _OF_STAT.items()},
        "letter": ord(stat[3]),
        "kthread": int(stat[9]) >> 21 & 1,
        "uid": int(uids[0]),
        "euid": int(uids[1]),
        "gid": int(gids[0]),
        "egid": int(gids[1]),
        "nspid": int(status["NSpid"].split()[-1]),
        "vm": kib.get("VmSize", -1),
        "rss": kib.get("VmRSS", -1),
        "peak": kib.get("VmHWM", -1),
        "swap": kib.get("VmSwap", -1),
        "shared": kib["RssFile"] + kib["RssShmem"] if "RssFile" in kib else -1,
        "vcsw": int(status["voluntary_ctxt_switches"]),
        "icsw": int(status["nonvoluntary_ctxt_switches"]),
    }


_OF_STAT = {
    "ppid": 4,
    "pgid": 5,
    "sid": 6,
    "tty": 7,
    "minflt": 10,
    "majflt": 12,
    "user": 14,
    "system": 15,
    "prio": 18,
    "nice": 19,
    "threads": 20,
    "start": 22,
    "cpu": 39,
    "policy": 41,
}


@pytest.fixture(scope="module")
def look(machine: Machine) -> Look:
    """The zoo, by every column."""
    return machine.once("selected zoo", lambda: _look(machine))


def _look(machine: Machine) -> Look:
    steps = [animal.start for animal in ANIMALS.values()]
    reads = [one for form in ("jsonl", "table", "bin") for one in chosen(f"{ALL} format={form}")]
    answers = machine.play(*steps, step("procs", whole=1), *reads, step("procs", whole=1))
    pids = {what: answer["pid"] for what, answer in zip(ANIMALS, answers, strict=False)}
    before, *middle, after = answers[len(steps) :]
    first, last = ({int(pid): measured(files) for pid, files in one["procs"].items()} for one in (before, after))
    jsonl, table, binary = (took(middle[at : at + 4]) for at in (0, 4, 8))
    return Look(pids, first, last, parse_jsonl(jsonl), parse_table(table), parse_bin(binary, EVERY))


def differing(look: Look, field: str, agrees: Callable[[int, int, int], bool]) -> None:
    """Hold a column against /proc; -1 is what it does not have."""
    rows = list(look.pairs(field))
    require_that(len(rows) > 20, "A pass has each process.", f"{len(rows)} of them")
    seen = [
        f"PID {pid}: {field} is {shown!r}, expected {first} to {last}"
        for pid, shown, first, last in rows
        if not (-1 in (first, last) if shown is None else agrees(number(shown), first, last))
    ]
    require_none(seen, f"`{field}` is what /proc says.")


@pytest.mark.parametrize(
    "field", ["ppid", "pgid", "sid", "tty", "nspid", "kthread", "threads", "uid", "euid", "gid", "egid", "nice"]
)
def test_a_column_is_what_proc_says(look: Look, field: str) -> None:
    """Parents, groups, sessions, terminals, ids, threads and nice values agree with /proc/PID/stat and status."""
    differing(look, field, lambda shown, *both: shown in both)


def test_priorities_policies_and_starts_are_what_proc_says(look: Look) -> None:
    """prio is /proc's plus 100, start its ticks in ns."""
    differing(look, "prio", lambda shown, *both: shown - 100 in both)
    differing(look, "start", lambda shown, first, _: shown // TICK == first)
    rows = look.jsonl.by_pid()
    policies = [(rows[pid]["policy"], POLICIES[one["policy"]]) for pid, one in look.after.items() if pid in rows]
    require_none([f"{shown!r}, expected {wanted}" for shown, wanted in policies if shown != wanted], "policy is right.")


@pytest.mark.parametrize("field", ["minflt", "majflt"])
def test_faults_lie_between_two_looks(look: Look, field: str) -> None:
    """minflt and majflt count those of all threads, as /proc/PID/stat does."""
    differing(look, field, lambda shown, first, last: first <= shown <= last)


def test_times_lie_between_two_looks(look: Look) -> None:
    """`user` and `system` are ns of all threads; together they are what /proc has, which shares them out otherwise."""
    rows, other = look.jsonl.by_pid(), {"user": "system", "system": "user"}
    seen = []
    for field in other:
        for pid, shown, first, last in look.pairs(field):
            both = number(shown) + number(rows[pid][other[field]])
            least, most = (one[pid]["user"] + one[pid]["system"] for one in (look.before, look.after))
            slack = 3 + most // 10
            if not (least - 2) * TICK <= both <= (most + 3) * TICK:
                seen.append(f"PID {pid}: {both} ns together, expected {least} to {most} ticks")
            if not (first - slack) * TICK <= number(shown) <= (last + slack) * TICK:
                seen.append(f"PID {pid}: {field} is {shown!r}, expected {first} to {last} ticks")
    require_none(seen, "`user` and `system` are what /proc says.", "sum_exec_runtime, shared out by ticks")


@pytest.mark.parametrize("field", ["vcsw", "icsw"])
def test_switches_lie_between_two_looks(look: Look, field: str) -> None:
    """vcsw and icsw are those of all threads; a status file has its main thread's, and threads that ended are more."""
    differing(look, field, lambda shown, first, _: first <= shown)
    ours = [row for row in look.pairs(field) if row[0] in look.pids.values() and look.before[row[0]]["threads"] == 1]
    require_that(len(ours) > 10, "Most animals have one thread.", f"{len(ours)}")
    seen = [row for row in ours if not row[2] <= number(row[1]) <= row[3]]
    require_none([f"PID {one[0]}: {one[1:]}" for one in seen], f"{field} is what status says.")


@pytest.mark.parametrize("field", MEMORY)
def test_memory_is_what_proc_says(look: Look, field: str) -> None:
    """Memory is in KiB; who has none of its own has none, which is not 0."""

    def agrees(shown: int, first: int, last: int) -> bool:
        slack = BATCH + max(first, last) // 20
        return min(first, last) - slack <= shown <= max(first, last) + slack

    differing(look, field, agrees)
    kernel = [row for row in look.jsonl.rows if row["kthread"]]
    none = [row for row in kernel if row[field] is not None]
    require_that(kernel and not none, "A kernel thread's memory is not known.", f"{none[:2]}")
    zombie = look.jsonl.by_pid()[look.pids["a zombie"]]
    require_that(zombie[field] is None, "A zombie's memory is not known.", f"{zombie}")
    known = look.jsonl.by_pid()[look.pids["a process with 24 MiB"]]
    if field in ("vm", "rss", "peak"):
        require_that(number(known[field]) > 24 * 1024, "24 MiB are seen.", f"{known}")


def test_the_animals_are_shown_as_what_they_are(look: Look) -> None:
    """State, its letter, policy, user and name of each animal, names byte for byte."""
    rows = look.jsonl.by_pid()
    for what, animal in ANIMALS.items():
        row = rows[look.pids[what]]
        wanted = (animal.state, animal.policy, animal.uid, animal.gid, animal.threads, animal.comm[:15])
        shown = tuple(row[key] for key in ("state", "policy", "uid", "gid", "threads", "comm"))
        require_that(shown == wanted, f"{what} is {wanted}.", f"{shown}")
        letter = LETTERS[STATES.index(animal.state)]
        require_that(row["letter"] == letter, f"{what} has the letter {letter}.", f"{row}")


def test_the_cgroup_is_the_number_of_its_folder(machine: Machine) -> None:
    """`cgroup` is the inode number of the folder of the process's cgroup, version 2."""
    where = "$(sed -n 's/^0:://p' /proc/1/cgroup)"
    mount = "$(findmnt -n -o TARGET -t cgroup2 | head -n1)"
    told, *rest = machine.play(step("sh", f"stat -c %i {mount}{where}"), *chosen("columns=cgroup pid=1 format=jsonl"))
    (row,) = parse_jsonl(took(rest)).rows
    require_that(row["cgroup"] == int(told["text"]), f"It is {told['text'].strip()}.", f"{row}")


def test_the_three_formats_say_the_same(look: Look) -> None:
    """What stood still has the same values as a table, in JSON lines, and in binary records."""
    moving = {*USAGE, "cpu", "rss", "shared", "peak", "state", "letter"}
    ours = set(look.pids.values())
    for other in (look.table, look.bin):
        others = other.by_pid()
        compared = 0
        for pid, row in look.jsonl.by_pid().items():
            # Others may do anything meanwhile; of a kernel thread's nothing is kept here but what it is.
            if pid not in others or not (pid in ours or row["kthread"]):
                continue
            still = {key: value for key, value in row.items() if key not in moving}
            seen = {key: others[pid].get(key, "absent") for key in still}
            require_that(seen == still, f"Each format has {still}.", f"{seen}")
            compared += 1
        require_that(compared > 40, "Each format has each process.", f"{compared} alike")


def test_passes_are_numbered_and_have_their_clocks(machine: Machine, look: Look) -> None:
    """Each pass has a number of its own, and lies between two looks at the clock that `start` is told by."""
    numbers = [look.jsonl.number, look.table.number, look.bin.number]
    require_that(numbers == sorted(set(numbers)), "Each pass has a number of its own.", f"{numbers}")
    uptime = step("sh", "cut -d' ' -f1 /proc/uptime")
    first, *middle, last = machine.play(uptime, *chosen("columns=pid format=jsonl"), uptime)
    one = parse_jsonl(took(middle))
    begin, end = float(first["text"]) * 1e9 - TICK, float(last["text"]) * 1e9 + TICK
    require_that(begin <= one.begin <= one.end <= end, f"A pass lies in {begin} to {end}.", f"{one.begin}, {one.end}")


@pytest.mark.parametrize("chunk", [1, 100, 4096, 65536])
def test_a_pass_is_whole_in_pieces_of_any_size(machine: Machine, chunk: int) -> None:
    """Count and checksum are right however the pass is read."""
    answers = machine.play(step("crowd", 300), *chosen(f"{ALL} format=jsonl kthreads=0", chunk), step("disband"))
    rows = parse_jsonl(took(answers[1:-1])).rows
    require_that(len(rows) > 300, "A pass has each process.", f"{len(rows)} rows")


# -- which tasks -----------------------------------------------------------------------------------------------------


def test_tasks_are_chosen_by_number(machine: Machine) -> None:
    """pid= and ppid= take numbers and ranges of them; what does not exist is not shown."""
    everything = "columns=pid,ppid format=jsonl"
    one, two, *rest = machine.play(
        step("spawn", "sleeper", "one"),
        step("spawn", "sleeper", "two"),
        *chosen(everything),
        *chosen("columns=pid pid=8-12,1,2,4194303 format=jsonl"),
        *chosen("columns=pid ppid=2 format=jsonl"),
        *chosen(everything),
    )
    before, few, children, after = (parse_jsonl(took(rest[at : at + 4])).by_pid() for at in (0, 4, 8, 12))
    parents = before[one["pid"]]["ppid"], before[two["pid"]]["ppid"]
    require_that(parents[0] == parents[1], "Two of one parent have one.", f"{parents}")
    asked = {pid for pid in before.keys() | after.keys() if pid <= 2 or 8 <= pid <= 12}
    lived = before.keys() & after.keys()
    require_that(asked & lived <= few.keys() <= asked, f"pid=8-12,1,2,4194303 is {asked}.", f"{few.keys()}")
    wanted = {pid for pid in lived if before[pid]["ppid"] == after[pid]["ppid"] == 2}
    require_that(len(wanted) > 5, "kthreadd has children.", f"{wanted}")
    require_that(wanted <= children.keys(), f"ppid=2 has {wanted}.", f"{children.keys()}")
    others = {pid for pid in children if pid in lived} - wanted
    require_that(not others, "ppid=2 has nobody else.", f"{others}")


def _only(machine: Machine, words: str, *animals: Animal) -> list[dict[str, Value]]:
    """Return what a selection shows while there are these animals."""
    answers = machine.play(
        *(one.start for one in animals), *chosen(f"columns=pid,tid,comm,uid,letter,kthread format=jsonl {words}")
    )
    return parse_jsonl(took(answers[len(animals) :])).rows


def test_tasks_are_chosen_by_user_state_and_kind(machine: Machine) -> None:
    """uid=, state= and kthreads= leave out all others."""
    mine = Animal("sleeper", nonce("user").encode(), {"uid": 4711})
    rows = _only(machine, "uid=4700-4720", mine)
    require_that([row["comm"] for row in rows] == [mine.comm], "uid=4700-4720 is one process.", f"{rows}")
    rows = _only(machine, "state=ZT", ANIMALS["a zombie"], ANIMALS["a stopped process"])
    letters = {row["letter"] for row in rows}
    require_that(letters == {"Z", "T"}, "state=ZT is who has ended and who is stopped.", f"{rows}")
    for kind, words in ((0, "kthreads=0"), (1, "kthreads=1")):
        kinds = {row["kthread"] for row in _only(machine, words)}
        require_that(kinds == ({0, 1} if kind else {0}), f"{words} has the kinds it should.", f"{kinds}")


def test_tasks_are_chosen_by_name(machine: Machine) -> None:
    """comm= is the whole name, or its beginning where it ends with an asterisk; it is escaped as it is shown."""
    name = nonce("chosen").encode()
    animals = [Animal("sleeper", one, {}) for one in (name, name + b"b", b"x" + name[:9], b"a b\\c")]
    rows = _only(machine, f"comm={name.decode()}", *animals)
    require_that([row["comm"] for row in rows] == [name], "comm=NAME is this name alone.", f"{rows}")
    rows = _only(machine, f"comm={name.decode()}*", *animals)
    require_that([row["comm"] for row in rows] == [name, name + b"b"], "comm=NAME* is what begins so.", f"{rows}")
    rows = _only(machine, r"comm=a\040b\134c", *animals)
    require_that([row["comm"] for row in rows] == [b"a b\\c"], "A name is written as it is shown.", f"{rows}")


def test_threads_are_shown_where_they_are_asked_for(machine: Machine) -> None:
    """threads=1 has a row for each thread, with its own number; pid= is the process's."""
    threads = Animal("sleeper", nonce("threads").encode(), {"threads": 20})
    made, *rest = machine.play(threads.start, *chosen("columns=pid,tid,comm,threads threads=1 format=jsonl"))
    rows = [row for row in parse_jsonl(took(rest)).rows if row["pid"] == made["pid"]]
    require_that(len({row["tid"] for row in rows}) == len(rows) == 20, "Each thread has a row.", f"{rows}")
    require_that({row["threads"] for row in rows} == {20}, "Each says how many there are.", f"{rows}")
    made, *rest = machine.play(threads.start, *chosen("columns=pid threads=1 pid=2 format=jsonl"))
    require_that(parse_jsonl(took(rest)).rows == [{"pid": 2}], "pid=2 is kthreadd alone.", f"{rest}")
    processes = select(machine, "columns=pid,tid")
    require_that(all(row["pid"] == row["tid"] for row in processes.rows), "Without, tid is pid.", "they differ")


def test_an_identity_is_of_one_task_alone(machine: Machine) -> None:
    """`id` stays what it is, no two tasks that live have the same, and a number that is used again has another one."""
    first, *one = machine.play(
        step("spawn", "sleeper", "first"), *chosen("columns=pid,id,start threads=1 format=jsonl")
    )
    rows = parse_jsonl(took(one)).rows
    require_that(len({row["id"] for row in rows}) == len(rows), "No two have the same identity.", f"{len(rows)} rows")
    pid = first["pid"]
    was = next(row for row in rows if row["pid"] == pid)
    require_that(was["id"] == number(was["start"]) >> 10 << 22 | pid, "It is made as docs/abi.md says.", f"{was}")
    shell = f"k={pid}; again; echo 'columns=id,state pid={pid}' >&3; cat <&3; end"
    (answer,) = machine.play(step("sh", SHELL + shell))
    (row,) = parse_table(answer["text"]).rows
    require_that(row["id"] != was["id"], "A number that is used again has another identity.", f"{row}")


# -- the open file ---------------------------------------------------------------------------------------------------


def test_a_selection_is_for_this_open_file_alone(machine: Machine) -> None:
    """Who opens the list meanwhile has the contract's table; a blank write takes the selection back."""
    answers = machine.play(
        *chosen("columns=pid pid=1")[:2], read(LISTER), step("fread", 0), step("fwrite", 0, " \n"), step("fread", 0)
    )
    plain, mine, back = (text_of(answers[at], LISTER) for at in (2, 3, 5))
    require_that(len(parse_list(plain).tasks) > 20, "The other one has the table.", plain[:200])
    require_that(parse_table(mine).rows == [{"pid": 1}], "This one has what it chose.", mine)
    require_that(
        parse_list(back).tasks[0].pid == 1 and "Total processes" in back, "It has the table again.", back[:200]
    )


def test_a_selection_in_the_middle_begins_anew(machine: Machine) -> None:
    """What was read before, also what was made and not yet read, is no part of the next pass."""
    answers = machine.play(
        step("open", 0, LISTER, "rw"), step("fread", 0, bytes=700), *chosen("columns=pid,comm format=jsonl")[1:3]
    )
    one = parse_jsonl(text_of(answers[3], LISTER))
    require_that(one.rows[0] == {"pid": 1, "comm": one.rows[0]["comm"]}, "It begins with PID 1.", f"{one.rows[0]}")


def test_a_pass_can_be_read_again(machine: Machine) -> None:
    """Who goes back to the beginning has another pass by the same selection."""
    _, _, first, _, again = machine.play(
        *chosen("columns=pid pid=1,2 format=jsonl")[:3], step("rewind", 0), step("fread", 0)
    )
    passes = [parse_jsonl(text_of(one, LISTER)) for one in (first, again)]
    require_that(passes[0].rows == passes[1].rows == [{"pid": 1}, {"pid": 2}], "Both have both.", f"{passes}")
    require_that(passes[0].number < passes[1].number, "It is another pass.", f"{passes}")


def test_without_columns_there_are_those_of_the_table(machine: Machine) -> None:
    """A selection of tasks alone has the columns of the table, in its order."""
    (*answers,) = machine.play(*chosen("pid=1"))
    rows = parse_table(took(answers)).rows
    require_that([tuple(row) for row in rows] == [TABLE], f"They are {TABLE}.", f"{rows}")


BAD = {
    "bogus": "bogus",
    "pid": "pid",
    "columns=": "",
    "columns=pid,nonsense": "nonsense",
    "columns=pid,comm,pid": "pid",
    "pid=1,x": "x",
    "pid=9-3": "9-3",
    "pid=-1": "-1",
    "pid=+1": "+1",
    "since=+1 columns=id,state": "+1",
    "pid=1 pid=2": "pid",
    "uid=4294967296": "4294967296",
    "state=Q": "Q",
    "state=": "state",
    "comm=": "comm",
    f"comm={'x' * 70}": "x" * 40,
    "kthreads=yes": "yes",
    "threads=2": "2",
    "format=xml": "xml",
    "since=x columns=id,state": "x",
    "since=0 columns=pid,state": "since",
    "pid=1 format=bin\0": "pid=1 format=bin",
}
E_TOO_BIG = {"pid=" + ",".join(map(str, range(1, 34))): "33", "x" * 1025: ""}


@pytest.mark.parametrize("words", [*BAD, *E_TOO_BIG], ids=lambda words: repr(words[:20]))
def test_what_is_no_selection_is_refused(machine: Machine, words: str) -> None:
    """A bad selection fails with EINVAL or E2BIG, says in dmesg what is wrong, and changes nothing."""
    word = {**BAD, **E_TOO_BIG}[words]
    (start,) = machine.play(step("kmsg", 1 << 40))
    answers = machine.play(*chosen("columns=pid pid=2")[:2], step("fwrite", 0, words), step("fread", 0))
    *_, kmsg = machine.play(step("kmsg", start["last"]))
    refused(answers[2], f"`{words[:40]}`", errno.EINVAL if words in BAD else errno.E2BIG, "-EINVAL from the parser")
    rows = parse_table(text_of(answers[3], LISTER)).rows
    require_that(rows == [{"pid": 2}], "What was chosen before still is.", f"{rows}")
    wanted = f'task_lister: refused "{word}": '
    found = any(wanted in line for line in kmsg["records"])
    require_that(found, f"dmesg has `{wanted}REASON`.", f"{kmsg['records'][-3:]}")


def test_who_may_only_read_chooses_nothing(machine: Machine) -> None:
    """An unprivileged user reads the table, and cannot open it to write."""
    (answer,) = machine.play(step("as", 65534, 65534, step("open", 0, LISTER, "rw")))
    seen = answer["inner"][0]["errno"]
    require_that(seen == errno.EACCES, "Another user who opens it to write gets EACCES.", f"errno {seen}")


def test_a_bad_address_is_refused(machine: Machine) -> None:
    """A selection from memory that is not there fails with EFAULT."""
    (written,) = machine.play(step("write", LISTER, null=1))
    refused(written, "A write from an address where there is no memory", errno.EFAULT, "memdup_user_nul() tells")


PASS = f"exec 3<>{LISTER}; echo 'columns=pid,comm,id kthreads=0' >&3; cat <&3; exec 3<&-"


def test_passes_are_whole_while_tasks_come_and_go(machine: Machine) -> None:
    """Under a storm of forks each pass has each process that lives through it, once, and its checksum is right."""
    before, storming, after = machine.play(
        step("procs"), step("sh", f"({STORM}) & for i in $(seq {PASSES}); do {PASS}; done; wait"), step("procs")
    )
    lived = {
        int(pid) for pid, files in before["procs"].items() if pid in after["procs"] and not measured(files)["kthread"]
    }
    passes = [parse_table(f"PID {text}") for text in storming["text"].split("PID ")[1:]]
    require_that(len(passes) == PASSES and len(lived) > 5, f"There are {PASSES} passes.", f"{len(passes)}, {lived}")
    for one in passes:
        missing = sorted(lived - one.by_pid().keys())
        require_none([f"PID {pid} is missing" for pid in missing], "Who lives through a pass is in it.")
