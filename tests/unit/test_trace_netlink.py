"""The client's requests and the kernel's answers, with a kernel that is made up."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kmodlab.errors import ModuleUnavailable, Refused
from kmodlab.modules import Filter, Tracer
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.machine import Machine
from kmodlab.modules.netlink import Connection

from .fake_netlink import Denied, FakeKernel

SPEC = tracer_spec()


Client = Callable[..., Tracer]


class Silent(socket.socket):
    """One end of a pair, to which nobody answers."""

    def setsockopt(self, *_: object) -> None:
        """Take what only a netlink socket understands for done."""


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel, to which every connection goes."""
    return FakeKernel()


@pytest.fixture
def client(kernel: FakeKernel, tmp_path: Path) -> Client:
    """A function that gives a client; `sysfs` is there while the module is loaded."""
    return lambda sysfs=tmp_path: Tracer(Machine(sysfs, socket=kernel.link))


def test_the_status(kernel: FakeKernel, client: Client) -> None:
    with client() as tracer:
        status = tracer.status()
        assert tracer.issued() == kernel.issued
    assert (status.version, status.hook, status.enforcing, status.returns) == ("1.0.0", "ftrace", True, False)
    names = SPEC.operations["status-get"].replies
    assert (status.data_bytes, status.entries, status.returns_missed) == (128, 1, names.index("returns-missed"))


def test_the_calls(client: Client) -> None:
    with client() as tracer:
        calls = {call.name: call for call in tracer.calls()}
    assert (calls["openat"].arguments, calls["openat"].traced, calls["read"].traced) == ("Dpxm", False, True)
    counts = [(call.issued, call.blocked, call.failed) for call in calls.values()]
    assert counts == [(10 * number, number, 2 * number) for number in range(len(calls))]


def test_a_module_that_tells_less(kernel: FakeKernel, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    (told, *_) = kernel.call_get({})
    monkeypatch.setattr(kernel, "call_get", lambda _: [{name: told[name] for name in told if name != "failed"}])
    with client() as tracer, pytest.raises(ModuleUnavailable, match="older than this program: it does not tell failed"):
        tracer.calls()


def test_a_listener_may_be_left_out(kernel: FakeKernel, client: Client) -> None:
    with client() as tracer:
        assert tracer.status().left_out == ()
        tracer.stream().close()
        assert ("leave-out", {}) not in kernel.asked
        tracer.stream(leave_out=True).close()
        assert tracer.status().left_out == (os.getpid(),)
    names = [name for name, _ in kernel.asked]
    assert names[names.index("leave-out") + 1] == "status-get", "it is asked for before the joining, and by its socket"


def test_a_listener_that_cannot_be_left_out_listens_to_nothing(
    kernel: FakeKernel, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise Denied(errno.ENOSPC, "too many processes are left out")

    monkeypatch.setattr(kernel, "leave_out", refuse)
    with client() as tracer, pytest.raises(Refused, match="listened to: too many processes are left out"):
        tracer.stream(leave_out=True)
    assert kernel.listeners == []


def test_calls_are_traced_in_one_request(kernel: FakeKernel, client: Client) -> None:
    with client() as tracer:
        tracer.trace(["open", "=close"])
        tracer.trace(["read"], on=False)
    assert kernel.asked == [
        ("call-set", {"name": ["open", "=close"], "traced": 1}),
        ("call-set", {"name": ["read"], "traced": 0}),
    ]


def test_filters_come_back_as_they_were_given(kernel: FakeKernel, client: Client) -> None:
    odd = b"/tmp/\xff a"
    filters = [
        Filter("unlink", block=True, errno=errno.EACCES, pid=0, uid=(1 << 32) - 1, comm=b"rm", path=odd),
        Filter("=read", block=False),
    ]
    with client() as tracer:
        for one in filters:
            tracer.add_filter(one)
        assert tracer.filters() == filters
        tracer.delete_filters("unlink")
        assert tracer.filters() == filters[1:]
        tracer.clear_filters()
        assert tracer.filters() == []
    assert kernel.asked[0][1]["path"] == odd.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_says_what_the_kernel_says(kernel: FakeKernel, client: Client, capped: bool) -> None:
    kernel.capped = capped
    with client() as tracer, pytest.raises(Refused) as caught:
        tracer.add_filter(Filter("getppid", block=True, path=b"/x"))
    assert caught.value.message == "the filter `getppid: BLOCK path=/x` is refused: it takes no path (EINVAL)"
    assert (caught.value.errno, caught.value.status) == (errno.EINVAL, 1)


def test_without_the_right_to(kernel: FakeKernel, client: Client) -> None:
    kernel.denies = errno.EPERM
    with client() as tracer:
        for ask in (tracer.status, tracer.stream):
            with pytest.raises(Refused, match=r"it takes root \(CAP_SYS_ADMIN") as caught:
                ask()
            assert "as root" in (caught.value.hint or "")


def test_without_the_module(kernel: FakeKernel, client: Client, tmp_path: Path) -> None:
    kernel.present = False
    with pytest.raises(ModuleUnavailable, match="is not loaded on this machine") as caught:
        client(tmp_path / "none")
    assert "modprobe syscall_tracer" in (caught.value.hint or "")


def test_with_a_module_that_is_older_than_the_family(kernel: FakeKernel, client: Client) -> None:
    kernel.present = False
    with pytest.raises(ModuleUnavailable, match="that is loaded here has no netlink family") as caught:
        client()
    assert "deploy it again" in (caught.value.hint or "")


def test_with_another_version_of_the_family(kernel: FakeKernel, client: Client) -> None:
    kernel.version = SPEC.version + 1
    words = f"has version {SPEC.version + 1}; this program knows {SPEC.version}"
    with pytest.raises(ModuleUnavailable, match=words) as caught:
        client()
    assert "same checkout" in (caught.value.hint or "")


def test_on_a_kernel_that_cannot_guard_the_group(kernel: FakeKernel, client: Client) -> None:
    kernel.group = "other"
    with client() as tracer, pytest.raises(ModuleUnavailable, match="has no group events on this kernel") as caught:
        tracer.stream()
    assert "5.10.204" in (caught.value.hint or "")


def test_the_module_goes_meanwhile(kernel: FakeKernel, client: Client) -> None:
    with client() as tracer:
        kernel.denies = errno.ENOENT  # as the kernel says of a family that it has no more
        with pytest.raises(ModuleUnavailable, match="its module was unloaded"):
            tracer.status()


def test_the_rest_of_an_earlier_exchange_is_passed_over(kernel: FakeKernel) -> None:
    link = kernel.link()
    with contextlib.closing(Connection(SPEC, link)) as connection:
        kernel.acknowledge(link, 1, Denied(errno.EINVAL))
        assert connection.do("status-get")["version"] == "1.0.0"


def test_a_kernel_that_does_not_answer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, pytest.raises(ModuleUnavailable, match=r"did not answer within 0 s"):
        Connection(SPEC, Silent(fileno=ours.detach()), patience=0.2)
