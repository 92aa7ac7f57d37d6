"""The stream of records, every gap of which is counted; and the picking of a program's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmodlab.errors import KmodlabError
from kmodlab.modules import Tracer, netlink
from kmodlab.modules.machine import Machine
from kmodlab.modules.record import PID, SEQ, Row, rows
from kmodlab.modules.show import Ordered
from kmodlab.modules.stream import Stream
from kmodlab.modules.tree import Start, Tree, running

from . import fake_netlink
from .fake_netlink import FakeKernel, Link


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel, to which every connection goes."""
    return FakeKernel()


def client(kernel: FakeKernel) -> Tracer:
    """A client of the kernel."""
    return Tracer(Machine(socket=kernel.link))


@pytest.fixture
def stream(kernel: FakeKernel) -> Iterator[Stream]:
    """A stream that began when CPU 0 had counted 10 calls, and CPU 1 none."""
    kernel.issued = {0: 10, 1: 0}
    with client(kernel) as tracer:
        one = tracer.stream()
        yield one
        one.close()


def batch(*seqs: int) -> list[bytes]:
    """Return records with these numbers."""
    return [fake_netlink.record(seq=seq) for seq in seqs]


def taken(stream: Stream) -> list[int]:
    """Return the numbers of the records that are there now."""
    stream.receive(0)
    return [row[SEQ] for row in stream.take()]


def test_who_has_joined_asks_for_the_status_before_the_counters(kernel: FakeKernel, stream: Stream) -> None:
    """Else calls that were made between the two would neither come nor be lost."""
    assert [name for name, _ in kernel.asked] == ["status-get", "cpu-get"]
    assert len(kernel.listeners) == 1
    assert stream.lost == 0


def test_nothing_is_lost_where_nothing_is_missing(kernel: FakeKernel, stream: Stream) -> None:
    kernel.send(*batch(10, 11))
    kernel.send(*batch(0), cpu=1)
    kernel.send(*batch(12))
    assert taken(stream) == [10, 11, 0, 12]
    assert (stream.lost, stream.parsed, stream.waiting) == (0, 4, 0)
    assert (stream.behind({0: 13, 1: 1}), stream.behind({0: 15, 1: 1})) == (0, 2)


def test_every_kind_of_gap_is_counted_once(kernel: FakeKernel, stream: Stream) -> None:
    kernel.send(*batch(12), lost=2)  # before the first
    assert (taken(stream), stream.lost) == ([12], 2)
    kernel.send(*batch(13, 15, 16))  # within a batch
    assert (taken(stream), stream.lost) == ([13, 15, 16], 3)
    kernel.send(*batch(20), lost=1)  # between batches, of which the kernel knows of one
    assert (taken(stream), stream.lost) == ([20], 6)
    kernel.send(*batch(3), cpu=1)  # on the other CPU
    assert (taken(stream), stream.lost) == ([3], 9)
    stream.end({0: 25, 1: 4})  # after the last
    assert stream.lost == 13
    stream.end({0: 25, 1: 4})
    assert stream.lost == 13


def test_what_was_made_before_the_stream_began_is_no_gap(kernel: FakeKernel, stream: Stream) -> None:
    kernel.send(*batch(4, 5), lost=3)
    assert (taken(stream), stream.lost) == ([4, 5], 0)


def test_a_cpu_that_came_later_has_lost_what_the_kernel_says(kernel: FakeKernel, stream: Stream) -> None:
    kernel.send(cpu=7, lost=5)
    kernel.send(*batch(100), cpu=7)
    assert (taken(stream), stream.lost) == ([100], 5)


def test_a_full_socket_is_no_error(kernel: FakeKernel, stream: Stream) -> None:
    assert isinstance(stream._link.socket, Link)
    stream._link.socket.full = 2
    kernel.send(*batch(15))
    assert (taken(stream), stream.lost) == ([15], 5)


def test_what_comes_too_fast_stays_in_the_socket(kernel: FakeKernel) -> None:
    stream = Stream(Machine(socket=kernel.link).connect(), most=1)
    kernel.send(*batch(10))
    kernel.send(*batch(11))
    assert stream.receive(0)
    assert not stream.receive(0)
    assert [row[SEQ] for row in stream.take()] == [10]
    assert taken(stream) == [11]
    assert stream.lost == 0


def test_a_message_that_is_no_batch(stream: Stream) -> None:
    for message in (
        b"",
        netlink.HEADER.pack(20, 3, 0, 0, 0) + bytes(4),
        netlink.HEADER.pack(20, 29, 0, 0, 0) + bytes(4),
    ):
        stream._backlog.append(message)
        with pytest.raises(KmodlabError, match="batch"):
            stream.take()


def test_events_are_records(kernel: FakeKernel) -> None:
    lost: list[int] = []
    with client(kernel) as tracer:
        events = tracer.events(lost.append)
        first = fake_netlink.record(fake_netlink.item(1, b"/x"), (3,), call=0, pid=9)
        tracer._link.do("status-get")
        original = Tracer.stream

        def joined(self: Tracer) -> Stream:
            one = original(self)
            kernel.send(first, fake_netlink.record(seq=4, call=3))
            return one

        tracer.stream = joined.__get__(tracer)  # type: ignore[method-assign]
        one, two = next(events), next(events)
        events.close()
    assert (one.call, one.arguments, one.pid) == ("openat", ("3", '"/x"', "0x0", "00"), 9)
    assert two.call == "getppid"
    assert lost == []


# -- a program's own ---------------------------------------------------------------------------------------------


def row(pid: int, ppid: int, clock: int = 0, call: int = 0) -> Row:
    """Return a record of a process as a row."""
    (one,) = rows(fake_netlink.record(pid=pid, tid=pid, ppid=ppid, clock=clock, call=call))
    return one


def pids(rows: list[Row]) -> list[int]:
    return [one[PID] for one in rows]


def test_the_tree_is_who_has_a_parent_in_it() -> None:
    tree = Tree(10, [1, 2, 9, 10])
    seen = [row(10, 9), row(20, 10), row(1, 0), row(21, 20), row(30, 9), row(31, 30), row(22, 21), row(20, 10)]
    assert pids(tree.select(seen)) == [20, 21, 22, 20]


def test_orphans_that_the_root_has_adopted_stay() -> None:
    tree = Tree(10, [1, 9])
    assert pids(tree.select([row(20, 10), row(21, 20), row(21, 10)])) == [20, 21, 21]


def test_a_number_that_is_used_again_is_judged_anew() -> None:
    tree = Tree(10, [1, 9, 21])
    assert pids(tree.select([row(21, 9), row(21, 10), row(21, 9)])) == [21]


def test_whose_a_number_is_its_newest_record_tells() -> None:
    tree = Tree(10, [1, 9, 40])
    assert pids(tree.select([row(20, 10, 1), row(21, 20, 2)])) == [20, 21]
    # 20 has ended, and its number is that of a stranger, who has a child of his own.
    assert tree.select([row(20, 9, 5), row(30, 20, 6), row(31, 30, 7)]) == []
    # One that was late is of who had the number then, and changes nothing.
    assert pids(tree.select([row(20, 10, 3), row(32, 20, 8)])) == [20]
    # The other way round: one of the tree gets the number of a stranger who has ended.
    assert pids(tree.select([row(21, 10, 9), row(40, 21, 10), row(41, 40, 11)])) == [21, 40, 41]
    assert pids(tree.select([row(10, 9, 12), row(22, 10, 13)])) == [22], "the root stays it"


def test_a_record_waits_for_the_parents() -> None:
    tree = Tree(10, [1, 9])
    assert tree.select([row(22, 21, 1), row(40, 39), row(22, 21, 2), row(23, 22, 3)]) == []
    assert pids(tree.select([row(39, 9), row(21, 10), row(40, 39)])) == [21, 22, 23, 22]
    assert tree._waiting == {}


def test_what_has_waited_for_one_who_had_the_number_before_is_a_strangers() -> None:
    """A stranger's child ended before it was known whose it was; then one of the tree gets its parent's number."""
    tree = Tree(10, [1, 9])
    assert tree.select([row(31, 21, 3), row(32, 31, 4), row(22, 21, 8)]) == []
    assert pids(tree.select([row(21, 10, 7)])) == [21, 22], "22 has a clock: it came before its parent's record"
    assert tree._waiting == {}
    assert tree.select([row(32, 31, 9)]) == []


def test_the_processes_that_run() -> None:
    import os

    assert {1, os.getpid()} <= running()


def test_what_the_process_did_before_it_was_the_program_is_left_out() -> None:
    start = Start(20, {5})
    assert start.select([row(20, 10, 3), row(21, 20, 9), row(20, 10, 1)]) == [row(21, 20, 9)]
    found = start.select([row(20, 10, 7), row(20, 10, 4, call=5), row(20, 10, 2)])
    assert [one[1] for one in found] == [7, 4]
    assert start.select([row(20, 10, 1)]) == [row(20, 10, 1)]
    assert start.rest() == []


def test_without_an_exec_nothing_is_left_out() -> None:
    start = Start(20, set())
    assert start.select([row(20, 10, 3)]) == []
    assert start.rest() == [row(20, 10, 3)]


def test_rows_are_shown_in_the_order_of_their_entry() -> None:
    ordered = Ordered(delay=100)
    ordered.add([row(1, 0, 500), row(1, 0, 300)])
    ordered.add([row(2, 0, 400), row(2, 0, 100)])
    assert [one[1] for one in ordered.ready(500)] == [100, 300, 400]
    ordered.add([row(2, 0, 450)])
    assert [one[1] for one in ordered.ready(None)] == [450, 500]
    assert ordered.ready(None) == []
