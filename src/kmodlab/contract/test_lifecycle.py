"""Loading and unloading: nothing is left, nothing breaks, parameters are honoured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import as_command, filters_of
from .machine import Machine
from .modules import Module, find_module, put_back, require
from .readers.task_pages import parse_list
from .readers.tracer_page import Page, page_of, stats_of
from .readers.wording import listed, require_none, require_that, text_of, wrong
from .script import CORE_FILES, LISTER, TRACER, TRACER_STATS, Answer, beside, call, read, step, write

MODULES = [
    pytest.param("syscall_tracer", marks=pytest.mark.syscall_tracer),
    pytest.param("task_lister", marks=pytest.mark.task_lister),
]
BOTH = pytest.mark.parametrize("name", MODULES)
NOBODY, GROUP = 65534, 54321


@pytest.fixture
def module(name: str, machine: Machine) -> Iterator[Module]:
    """A module that the test may unload and load; afterwards it is as it was found, filters included."""
    module = find_module(machine, name)
    filters = filters_of(machine.play(read(TRACER))[0]) if name == "syscall_tracer" else []
    yield module
    put_back(machine, module)
    if filters:
        machine.play(write(*map(as_command, filters)))


def load_and_log(machine: Machine, module: Module, entries: int, calls: int) -> tuple[Page, int]:
    """Reload with this many entries a CPU, make `calls` calls on CPU 0; return the page and what was overwritten."""
    names = f"openat2:3,close:{calls},pread64:2"
    *loaded, _, page, counts = machine.play(
        module.unload(), module.load(f"log_entries={entries}"), call(names, "flood", cpu=0), read(TRACER),
        read(TRACER_STATS),
    )  # fmt: skip
    require(*loaded)
    return page_of(page), stats_of(counts).overwritten


def require_same(found: Answer, now: Answer) -> None:
    """What is there now is what was there before."""
    before, after = (sorted(answer["text"].split()) for answer in (found, now))
    if before != after:
        wrong(f"Loading it again brings back {' '.join(before)}.", f"There is {' '.join(after) or 'nothing'}.")


@BOTH
@pytest.mark.quick
def test_the_module_is_loaded_and_has_its_files(name: str, machine: Machine) -> None:
    """The module {name} is loaded, live, and has its files under /proc."""
    module = Module(name, "", ())
    looked, state = machine.play(module.look(), step("sh", f"cat /sys/module/{name}/initstate"))
    there = looked["text"].split()
    missing = [f"{path} is not there" for path in module.everything() if path not in there]
    require_none(missing, f"The module {name} is loaded, and has all files that the handout names.")
    if state["text"].strip() != "live":
        wrong(f"The module {name} is live.", f"Its state is {state['text'].strip()}.")


@BOTH
@pytest.mark.quick
def test_the_files_that_are_asked_for_first_are_there(name: str, machine: Machine) -> None:
    """The module {name} is loaded, and has the files that its handout asks for first."""
    module, wanted = Module(name, "", ()), CORE_FILES[name]
    (looked,) = machine.play(module.look())
    missing = [f"{path} is not there" for path in wanted if path not in looked["text"].split()]
    require_none(missing, f"The module {name} makes {', '.join(wanted)}.", "proc_create() in the init function")


@BOTH
def test_unloading_leaves_nothing_and_loading_brings_all_back(machine: Machine, module: Module) -> None:
    """Unloading {name} leaves no module and no file; it loads again, twice over."""
    rounds = (module.unload(), module.look(), module.load(), module.look())
    found, *answers = machine.play(module.look(), *rounds * 2)
    for unloaded, gone, loaded, back in zip(*[iter(answers)] * 4, strict=True):
        require(unloaded, loaded)
        if gone["text"]:
            there = f"There is still {listed(gone['text'].split())}."
            wrong("Unloading removes the module and its files.", there, "remove_proc_entry()")
        require_same(found, back)


@BOTH
def test_a_reader_that_is_open_survives_the_unloading(machine: Machine, module: Module) -> None:
    """Files of {name} that are open when it is unloaded break neither the kernel nor the next load."""
    (found,) = machine.play(module.look())
    paths = [path for path in found["text"].split() if path.startswith("/proc")]
    opens = [step("open", slot, path, "r") for slot, path in enumerate(paths)]
    reads = [step("fread", slot, bytes=100) for slot in range(len(paths))]
    closes = [step("close", slot) for slot in range(len(paths))]
    unload = step("sh", f"rmmod {module.called}; echo $?")
    answers = machine.play(*opens, *reads, unload, *reads, *closes, step("sh", f"rmmod {module.called}; true"))
    for path, answer in zip(paths, answers[len(paths) :], strict=False):
        text_of(answer, path)
    loaded, looked = machine.play(module.load(), module.look())
    require(loaded)
    require_same(found, looked)


@BOTH
def test_unloading_under_load_is_clean(machine: Machine, module: Module) -> None:
    """{name} can be unloaded and loaded three times while its files are read and calls are made."""
    path = TRACER if module.name == "syscall_tracer" else LISTER
    rounds = f"i=0; while [ $i -lt 3 ]; do rmmod {module.called} && insmod {module.file} || rc=1; i=$((i+1)); done"
    found, answer, looked = machine.play(
        module.look(), beside([f"cat {path} >/dev/null 2>&1", "ls / >/dev/null"], rounds), module.look()
    )
    require(answer)
    require_same(found, looked)


@pytest.mark.parametrize("name", MODULES[:1])
def test_log_entries_sets_the_size_of_the_log(machine: Machine, module: Module) -> None:
    """log_entries sets how many records are kept for each CPU, rounded up to a power of two: the newest."""
    for entries, kept in ((16, 16), (17, 32), (1000, 1024)):
        page, overwritten = load_and_log(machine, module, entries, kept + 20)
        made = [row.call for row in page.of("flood")]
        rows = len([row for row in page.rows if row.cpu == 0])
        when = f"With log_entries={entries}"
        require_that(rows == kept, f"{when} the log keeps {kept} records of each CPU.", f"Of CPU 0 it has {rows}.")
        asked = f"{when} the newest records are kept, and `Overwritten` counts those that made room."
        seen = ["openat2 is there, which was called before all others"] if "openat2" in made else []
        # Others may have filled a log of 16 by now.
        newest = kept < 1024 or made[-2:] == ["pread64", "pread64"]
        seen += [] if newest else [f"The last calls were two of pread64; there are {listed(made[-2:])}"]
        least = 3 + 20 + 2
        seen += [f"`Overwritten` is {overwritten}, expected at least {least}"] if overwritten < least else []
        require_none(seen, asked)
    overwritten = load_and_log(machine, module, 65536, 100)[1]
    asked = "A log that is not full has overwritten nothing."
    require_that(overwritten == 0, asked, f"With log_entries=65536, `Overwritten` is {overwritten} after 100 calls.")


@pytest.mark.parametrize("name", MODULES[:1])
def test_log_entries_out_of_bounds_are_refused(machine: Machine, module: Module) -> None:
    """The module does not load with log_entries below 16, above 1048576, or no number."""
    bad = ("0", "15", "1048577", "4294967295", "-1", "many")
    unloaded, *tried = machine.play(
        module.unload(), *(one for entries in bad for one in (module.load(f"log_entries={entries}"), module.look()))
    )
    require(unloaded)
    for entries, loaded, looked in zip(bad, tried[::2], tried[1::2], strict=True):
        asked = f"The module does not load with log_entries={entries}."
        require_that(loaded["rc"], asked, "insmod succeeded.", "the init function returns -EINVAL, and leaves nothing")
        require_that(not looked["text"], asked, f"insmod failed, and there is {listed(looked['text'].split())}.")


@pytest.mark.parametrize("name", MODULES[:1])
def test_proc_gid_lets_a_group_read(machine: Machine, module: Module) -> None:
    """proc_gid gives one group read access to the tracer, and nobody write access."""
    member, other = (step("as", NOBODY, gid, "\n".join((read(TRACER), write("clear")))) for gid in (GROUP, NOBODY))
    unloaded, loaded, mode, counts, inside, outside = machine.play(
        module.unload(), module.load(f"proc_gid={GROUP}"), step("mode", TRACER), step("mode", TRACER_STATS),
        member, other,
    )  # fmt: skip
    require(unloaded, loaded)
    assert (mode["mode"], mode["uid"], mode["gid"]) == (0o640, 0, GROUP)
    assert (counts["mode"], counts["uid"], counts["gid"]) == (0o440, 0, GROUP)
    assert inside["inner"][0]["errno"] == 0
    page_of(inside["inner"][0])
    assert inside["inner"][1]["open_errno"] == 13
    assert outside["inner"][0]["errno"] == 13
    assert outside["inner"][1]["open_errno"] == 13


@pytest.mark.parametrize("name", MODULES[1:])
def test_the_list_works_after_a_reload(machine: Machine, module: Module) -> None:
    """After a reload the list is complete at once."""
    unloaded, loaded, listed = machine.play(module.unload(), module.load(), read(LISTER))
    require(unloaded, loaded)
    if 1 not in parse_list(text_of(listed, LISTER)).by_pid():
        wrong("After a reload the list is complete at once.", "PID 1 is missing.")
