"""The feed of the tracer, against a kernel that is made up: what comes, what is told of it, and who changed what."""

from __future__ import annotations

import errno
import os
import select
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmodlab.daemon.items import Batch, Begin, Blocked, Calls, Changed, Clock, Counters, Item
from kmodlab.daemon.kernel import KernelFeed
from kmodlab.errors import KmodlabError, ModuleUnavailable, Refused, UsageError
from kmodlab.modules.machine import Machine
from kmodlab.modules.record import rows

from . import fake_netlink
from .fake_netlink import FakeKernel

NS = 1_000_000_000


@dataclass
class Lab:
    """A machine with a module that comes and goes, and a clock that goes on when it is told to."""

    folder: Path
    kernel: FakeKernel = field(default_factory=FakeKernel)
    seconds: float = 100.0
    real: int = 1_780_000_000 * NS

    def __post_init__(self) -> None:
        boot = self.folder / "proc/sys/kernel/random/boot_id"
        boot.parent.mkdir(parents=True)
        boot.write_text("b007\n")
        machine = Machine(sysfs=self.folder / "module", socket=self.kernel.link)
        self.feed = KernelFeed(machine, self.folder / "proc", self.clock, lambda: self.seconds)

    def clock(self) -> Clock:
        return Clock(int(self.seconds * NS), 0, self.real + int(self.seconds * NS))

    def load(self, srcversion: str = "ABC") -> None:
        """Load the module."""
        (self.folder / "module/parameters").mkdir(parents=True)
        (self.folder / "module/srcversion").write_text(f"{srcversion}\n")
        for name in ("enforce", "returns"):
            (self.folder / "module/parameters" / name).write_text("0\n")

    def unload(self) -> None:
        """Unload it."""
        shutil.rmtree(self.folder / "module")
        self.kernel.listeners.clear()

    def later(self, seconds: float = 1.0) -> list[Item]:
        """Return what comes so many seconds later."""
        self.seconds += seconds
        return self.feed.receive(0)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A machine whose module is loaded."""
    one = Lab(tmp_path)
    one.load()
    yield one
    one.feed.close()


def kinds(items: list[Item]) -> list[str]:
    """Return what items are."""
    return [type(item).__name__ for item in items]


def changes(items: list[Item]) -> list[tuple[str, str]]:
    """Return who changed what."""
    return [(item.who, item.what) for item in items if isinstance(item, Changed)]


def test_a_tracer_that_is_found_says_what_it_is(lab: Lab) -> None:
    lab.kernel.issued = {0: 10, 1: 0}
    lab.kernel.filters = [{"name": "unlink", "verdict": 1}]
    assert lab.feed.state == "no module"
    begin, clock, counters = lab.feed.receive(0)
    assert isinstance(begin, Begin)
    assert (begin.boot, begin.version, begin.data_bytes) == ("b007", "1.0.0", 128)
    assert begin.key.startswith("b007 ")
    assert begin.key.endswith(" ABC")
    assert begin.issued == {0: 10, 1: 0}
    assert {one.name: one.id for one in begin.calls} == lab.kernel.ids()
    assert (begin.settings.mode, begin.settings.filters, begin.settings.traced) == (
        "enforcing", ("unlink: BLOCK",), ("read",)
    )  # fmt: skip
    assert isinstance(clock, Clock)
    assert counters == Counters({0: (10, 10, 0, 0, 7), 1: (0, 0, 0, 0, 7)})
    assert lab.feed.state == ""
    assert lab.feed.receive(0) == []


def test_it_has_joined_before_it_asks(lab: Lab) -> None:
    """Else calls that were made between the two would neither come nor be counted."""
    lab.feed.receive(0)
    names = [name for name, _ in lab.kernel.asked]
    assert names.index("status-get") < names.index("cpu-get")
    assert lab.kernel.joined_at == 1
    assert names[0] == "leave-out"


def test_its_own_calls_are_left_out_from_the_beginning(lab: Lab) -> None:
    """Else each batch that is taken would be the reason of the next."""
    lab.feed.receive(0)
    assert lab.kernel.left_out == [os.getpid()]


def test_other_processes_of_the_daemon_are_left_out_by_whatever_tracer_there_is(lab: Lab) -> None:
    """Also of the next load of the module; who has ended meanwhile is forgotten."""
    lab.feed.leave_out(7)
    assert lab.kernel.left_out == []
    lab.feed.receive(0)
    lab.feed.leave_out(8)
    assert lab.kernel.left_out == [os.getpid(), 7, 8]
    lab.unload()
    lab.later()
    lab.kernel.nobody, lab.kernel.left_out = {7}, []
    lab.load("DEF")
    lab.later()
    assert lab.kernel.left_out == [os.getpid(), 8]
    assert lab.feed._left_out == {8}


def test_where_too_many_are_left_out_it_records_all_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> list[fake_netlink.Values]:
        raise fake_netlink.Denied(errno.ENOSPC, "8 processes are left out already")

    monkeypatch.setattr(fake_netlink.FakeKernel, "leave_out", refuse)
    assert kinds(lab.feed.receive(0)) == ["Begin", "Clock", "Counters"]
    assert "this daemon's own calls are recorded: 8 processes are left out already" in caplog.text


def test_blocked_calls_come_by_a_group_of_their_own_too(lab: Lab) -> None:
    lab.feed.receive(0)
    parts = [fake_netlink.record(seq=seq, clock=100, status=1, call=1) for seq in (5, 90)]
    lab.kernel.send(*parts, cpu=1, lost=2, number=7, group="blocked")
    lab.kernel.send(fake_netlink.record(seq=91, call=1), cpu=1)
    batch, apart = lab.feed.receive(1)
    assert apart == Blocked(1, 7, 2, 2, b"".join(parts))
    assert isinstance(batch, Batch)
    assert (batch.cpu, batch.first) == (1, 91)


def test_the_names_of_blocked_calls_are_told_first(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.kernel.calls["mkdirat"] = True
    new = lab.kernel.ids()["mkdirat"]
    lab.kernel.send(fake_netlink.record(seq=5, status=1, call=new), group="blocked")
    assert kinds(lab.feed.receive(1))[-1] == "Blocked"
    lab.kernel.calls["rmdir"] = True
    lab.kernel.send(fake_netlink.record(seq=6, status=1, call=new + 1), group="blocked")
    assert kinds(lab.feed.receive(1)) == ["Calls", "Changed", "Blocked"]


def test_what_was_lost_is_told_though_no_record_is_left_to_tell_it_with(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.kernel.send(cpu=1, lost=40)
    lab.kernel.send(cpu=0, lost=5)
    assert lab.feed.receive(1) == []
    lab.kernel.send(fake_netlink.record(seq=47, call=1), cpu=1, lost=2)
    lab.kernel.send(fake_netlink.record(seq=48, call=1), cpu=1)
    batches = [item for item in lab.feed.receive(1) if isinstance(item, Batch)]
    assert [(batch.cpu, batch.lost) for batch in batches] == [(1, 42), (1, 0)]


def test_batches_come_as_the_kernel_sends_them(lab: Lab) -> None:
    lab.feed.receive(0)
    data = fake_netlink.item(1, b"/etc/passwd")
    parts = [
        fake_netlink.record(seq=7, clock=100, latency=5, flags=1, call=1),
        fake_netlink.record(data=data, seq=8, clock=200, latency=9, call=0),
        fake_netlink.record(seq=10, clock=300, latency=9, flags=1, call=1),
    ]
    lab.kernel.send(*parts, cpu=1, lost=3)
    (batch,) = lab.feed.receive(1)
    assert batch == Batch(1, 7, 10, 3, 100, 300, 3, b"".join(parts))
    assert isinstance(batch, Batch)
    assert len(rows(batch.data)) == 3


def test_a_full_socket_is_a_gap_and_no_end(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.kernel.listeners[0].full = 2
    lab.kernel.send(fake_netlink.record(seq=5, call=1))
    assert kinds(lab.feed.receive(1)) == ["Batch"]
    assert lab.feed._events is not None
    assert lab.feed._events.full == 2


def test_what_has_not_changed_is_not_asked_for_again(lab: Lab) -> None:
    lab.feed.receive(0)
    asked = len(lab.kernel.asked)
    lab.kernel.send(fake_netlink.record(seq=0, call=0))
    assert kinds(lab.later()) == ["Batch"]
    assert sorted({name for name, _ in lab.kernel.asked[asked:]}) == ["cpu-get", "status-get"]


def test_a_call_is_named_before_its_first_record(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.kernel.calls["uname"] = True
    lab.kernel.send(fake_netlink.record(seq=0, call=lab.kernel.ids()["uname"]))
    found = lab.feed.receive(1)
    assert kinds(found) == ["Calls", "Changed", "Batch"]
    assert isinstance(found[0], Calls)
    assert found[0].calls[-1].name == "uname"
    assert changes(found) == [("elsewhere", "trace uname")]


def test_counters_where_they_have_changed_and_the_clock_every_ten_seconds_or_when_it_was_set(lab: Lab) -> None:
    """A machine on which nothing happens has nothing to write."""
    lab.feed.receive(0)
    assert [kinds(lab.later(0.5)) for _ in range(2)] == [[], []]
    for _ in range(2):
        lab.kernel.issued[0] += 1
        assert [kinds(lab.later(0.5)) for _ in range(4)] == [[], ["Counters"], [], []]
    assert sum("Clock" in kinds(lab.later()) for _ in range(20)) == 2
    lab.real -= 3600 * NS
    assert kinds(lab.later()) == ["Clock"]


def test_it_looks_less_often_where_nobody_does(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.feed.attend(False)

    def looks() -> int:
        lab.kernel.issued[0] += 1
        return kinds(lab.later()).count("Counters")

    looks()
    assert [looks() for _ in range(10)].count(1) == 2
    lab.feed.attend(True)
    assert [looks() for _ in range(4)] == [1, 1, 1, 1]


def test_whatever_is_changed_is_told_whoever_does_it(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.kernel.filters = [{"name": "unlink", "verdict": 1}]
    lab.kernel.mode = 0
    lab.kernel.calls["openat"] = True
    found = lab.later()
    assert changes(found) == [("elsewhere", "permissive; + unlink: BLOCK; trace openat")]
    assert changes(lab.later()) == []
    lab.kernel.filters = []
    lab.feed.control("=close block", "ada")
    assert changes(lab.feed.receive(0)) == [("elsewhere", "- unlink: BLOCK"), ("ada", "=close block")]
    lab.kernel.filters = [*lab.kernel.filters, {"name": "read", "verdict": 0}]
    lab.later()
    lab.kernel.filters.reverse()
    assert changes(lab.later()) == [("elsewhere", "the order of the filters")]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("unlink block errno=EACCES", ("filter-add", {"name": "unlink", "verdict": 1, "errno": 13})),
        ("trace =openat close", ("call-set", {"name": ["=openat", "close"], "traced": 1})),
        ("untrace read", ("call-set", {"name": ["read"], "traced": 0})),
        ("clear", ("filter-clear", {})),
    ],
)
def test_commands_go_to_the_kernel(lab: Lab, command: str, asked: tuple[str, object]) -> None:
    lab.feed.receive(0)
    lab.feed.control(command, "ada")
    assert asked in lab.kernel.asked
    assert changes(lab.feed.receive(0)) == [("ada", command)]


def test_the_parameters_are_set_as_root_would(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.feed.control("enforce=1", "ada")
    lab.feed.control("returns=1", "ada")
    parameters = lab.folder / "module/parameters"
    assert [(parameters / name).read_text() for name in ("enforce", "returns")] == ["1\n", "1\n"]
    (parameters / "enforce").unlink()
    (parameters / "enforce").mkdir()
    with pytest.raises(Refused, match="enforce=0 is refused: Is a directory"):
        lab.feed.control("enforce=0", "ada")


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("getppid block path=/x", Refused, "it takes no path"),
        ("unlink delete", Refused, "no such filter"),
        ("trace frobnicate", Refused, "no such system call"),
        ("unlink explode", UsageError, "is no filter"),
        ("enforce=2", UsageError, "is no filter"),
        ("", UsageError, "an empty command"),
    ],
)
def test_a_refusal_is_the_kernels_own_sentence(lab: Lab, command: str, error: type[KmodlabError], words: str) -> None:
    lab.feed.receive(0)
    with pytest.raises(error, match=words):
        lab.feed.control(command, "ada")
    assert changes(lab.later()) == []


def test_a_module_that_goes_and_comes_back_is_another_epoch(lab: Lab) -> None:
    (first, *_) = lab.feed.receive(0)
    lab.unload()
    assert lab.later() == []
    assert lab.feed.state == "no module"
    lab.kernel.present = False
    with pytest.raises(ModuleUnavailable, match="is not loaded"):
        lab.feed.control("clear", "ada")
    lab.kernel.present = True
    assert lab.later() == []
    lab.load("DEF")
    (second, *_) = lab.later()
    assert isinstance(first, Begin)
    assert isinstance(second, Begin)
    assert second.key != first.key
    assert lab.feed.state == ""


def test_another_load_between_two_looks_is_seen(lab: Lab) -> None:
    lab.feed.receive(0)
    (lab.folder / "module").rename(lab.folder / "old")
    lab.load()
    assert lab.later() == []
    assert kinds(lab.later()) == ["Begin", "Clock", "Counters"]


def test_who_may_not_listen_is_told_so_and_it_tries_again(lab: Lab) -> None:
    lab.kernel.denies = 1
    assert lab.feed.receive(0) == []
    assert lab.feed.state.startswith("it takes root (CAP_SYS_ADMIN")
    lab.kernel.denies = 0
    assert kinds(lab.later())[0] == "Begin"


def test_a_command_ends_the_waiting(lab: Lab) -> None:
    lab.feed.receive(0)
    lab.feed.control("clear", "ada")
    assert select.select([lab.feed._wake], [], [], 0)[0]
    assert changes(lab.feed.receive(0)) == [("ada", "clear")]
    assert not select.select([lab.feed._wake], [], [], 0)[0]
