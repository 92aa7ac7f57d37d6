"""The parameters of the tracer: ranges, and who may write them."""

from __future__ import annotations

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import get_parameter, set_parameter
from .readers.tracer_page import parse_page
from .script import TRACER, call, nonce, read, script, step

pytestmark = pytest.mark.syscall_tracer


@pytest.mark.any_kernel
def test_parameters_out_of_range_are_refused(machine: Machine) -> None:
    """The module does not load with a parameter out of its range, and one out of range is not taken at run time."""
    module = find_module(machine, "syscall_tracer")
    bad = (
        "data_bytes=15",
        "data_bytes=3969",
        "data_bytes=3968 log_entries=1048576",
        "hook=neither",
        "returns_max=0",
        "returns_max=4097",
        "enforce_timeout=86401",
        "enforce=maybe",
    )
    try:
        unloaded, *tried = machine.play(
            module.unload(), *(one for word in bad for one in (module.load(word), module.look()))
        )
        require(unloaded)
        for word, loaded, looked in zip(bad, tried[::2], tried[1::2], strict=True):
            assert "Invalid parameters" in loaded["text"], f"{word}: EINVAL, and not what comes of trying"
            assert looked["text"] == "", word
    finally:
        put_back(machine, module)
    written = machine.play(
        set_parameter("enforce_timeout", 86401), set_parameter("enforce", "maybe"), set_parameter("returns", "some")
    )
    assert [answer["errno"] for answer in written] == [22, 22, 22]


def test_parameters_take_a_capability(tracer: Machine) -> None:
    """Root without CAP_SYS_ADMIN can read the parameters, not write them."""
    names = ("enforce", "enforce_timeout", "returns")
    inner = script(*(set_parameter(name, 0) for name in names), *map(get_parameter, names))
    (answer,) = tracer.play(step("nocap", inner))
    assert [one["errno"] for one in answer["inner"]] == [1, 1, 1, 0, 0, 0]


def test_the_hook_in_use_can_be_read(machine: Machine) -> None:
    """`hook` reads as the kind that is in use, and the calls are recorded once with either."""
    module = find_module(machine, "syscall_tracer")
    comm = nonce("hook")
    try:
        for asked, wanted in (("kprobe", {"kprobe"}), ("auto", {"ftrace", "kprobe"})):
            *loaded, hook, _, page = machine.play(
                module.unload(), module.load(f"hook={asked}"), get_parameter("hook"), call("close", comm), read(TRACER)
            )
            require(*loaded)
            assert hook["text"].strip() in wanted
            assert [row.call for row in parse_page(page["text"]).of(comm)] == ["close"]
    finally:
        put_back(machine, module)


@pytest.mark.any_kernel
def test_data_bytes_bounds_what_is_kept_of_a_path(machine: Machine) -> None:
    """With more data_bytes a long path is kept whole."""
    module = find_module(machine, "syscall_tracer")
    path = "/" + "z" * 200
    try:
        *loaded, _, page = machine.play(
            module.unload(), module.load("data_bytes=256"), step("sh", f"cat {path} 2>/dev/null; true"), read(TRACER)
        )
        require(*loaded)
        assert f'"{path}"' in {argument for row in parse_page(page["text"]).of("cat") for argument in row.arguments}
    finally:
        put_back(machine, module)
