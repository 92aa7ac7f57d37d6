"""What a record says of the arguments of its call."""

from __future__ import annotations

import re

import pytest

from .machine import Machine
from .readers.tracer_page import Row, parse_page
from .script import TRACER, call, nonce, read, step, write

pytestmark = pytest.mark.syscall_tracer


#: how the names of a family's later members differ: `faccessat2` of `access`; which one libc calls differs by machine
MEMBER = re.compile(r"^f(?=access|chmod|chown)|at2?$")


def of_python(tracer: Machine, code: str, *traced: str) -> list[Row]:
    """Let a Python program on the machine make calls, and return its records that name them."""
    comm = nonce("py")
    shell = f'exec python3 -c \'open("/proc/self/comm", "w").write("{comm}"); {code}\' 2>&1'
    _, ran, page, _ = tracer.play(
        write("clear", f"trace {' '.join(traced)}"),
        step("sh", shell),
        read(TRACER),
        write(f"untrace {' '.join(traced)}", "trace open unlink"),
    )
    assert ran["rc"] == 0, ran["text"]
    return [row for row in parse_page(page["text"]).of(comm) if MEMBER.sub("", row.call) in traced]


def test_arguments_are_shown_by_their_kind(tracer: Machine) -> None:
    """Descriptors and sizes are decimal, flags and pointers hexadecimal, modes octal, paths quoted."""
    comm = nonce("kinds")
    *_, page, _ = tracer.play(
        write("clear", "trace chmod getppid"),
        call("openat,read,fchmodat,unlinkat,getppid,close", comm),
        read(TRACER),
        write("untrace chmod getppid"),
    )
    rows = {row.call: row.arguments for row in parse_page(page["text"]).of(comm)}
    path = rows["openat"][1]
    assert re.fullmatch(r'"/tmp/contract-\S+"', path)
    assert rows["openat"][:3] == ["AT_FDCWD", path, "0x0"]
    assert re.fullmatch(r"\d+,0x[0-9a-f]+,8", ",".join(rows["read"]))
    assert rows["fchmodat"] == ["AT_FDCWD", path, "0666"]
    assert rows["unlinkat"] == ["AT_FDCWD", path, "0x0"]
    assert rows["close"] == rows["read"][:1]
    assert rows["getppid"] == []


@pytest.mark.any_kernel
def test_paths_are_escaped_and_cut_visibly(tracer: Machine) -> None:
    """A path is one word whatever is in it, and ends with `...` if it is longer than data_bytes."""
    odd = b'/tmp/a b\x1b,c"d\\'
    code = f'import os; [os.access(p, 0) for p in (bytes.fromhex("{odd.hex()}"), "/" + "y" * 300)]'
    rows = of_python(tracer, code, "access")
    seen = [argument for row in rows for argument in row.arguments if argument.startswith('"')][-2:]
    assert len(seen) == 2, rows
    assert seen[0] == r'"/tmp/a\040b\033,c\042d\134"'
    assert re.fullmatch(r'"/y{100,127}"\.\.\.', seen[1])


@pytest.mark.any_kernel
def test_a_path_that_just_fits_is_whole(tracer: Machine) -> None:
    """A path of as many bytes as are kept has no `...`, alone and as one of two; with one byte more it has."""
    sizes = {"access": (123, 124, 125), "rename": (59, 60, 61)}
    code = (
        f"import os; [os.access(chr(47) + chr(121) * (n - 1), 0) for n in {sizes['access']}]"
        f"\nfor n in {sizes['rename']}:\n try: os.rename(chr(47) + chr(121) * (n - 1), chr(47) + chr(122) * (n - 1))\n"
        " except OSError: pass"
    )
    rows = of_python(tracer, code, "access", "rename")
    shown = [argument for row in rows for argument in row.arguments if re.match(r'"/[yz]{20}', argument)]
    assert shown == [
        *(f'"/{"y" * 122}"', f'"/{"y" * 123}"', f'"/{"y" * 123}"...'),
        *(f'"/{letter * (n - 1)}"' for n in (59, 60) for letter in "yz"), *(f'"/{letter * 59}"...' for letter in "yz"),
    ]  # fmt: skip


def test_what_cannot_be_read_is_shown_as_a_pointer(tracer: Machine) -> None:
    """A path at an address where nothing is, NULL or the kernel's included, is shown as that address."""
    call = "c.unlinkat(-100, ctypes.c_void_p(a), 0)"
    code = f"import ctypes; c = ctypes.CDLL(None); [{call} for a in (0, 8, 1 << 63)]"
    rows = of_python(tracer, code, "unlink")
    assert [row.arguments[1] for row in rows] == ["0x0", "0x8", "0x8000000000000000"]


def test_socket_addresses_are_decoded(tracer: Machine) -> None:
    """connect shows the address: IPv4, IPv6, a path, an abstract name."""
    code = (
        "import socket as s; u = s.AF_UNIX; "
        '[s.socket(f).connect_ex(a) for f, a in ((s.AF_INET, ("127.0.0.1", 9)), (s.AF_INET6, ("::1", 9)), '
        '(u, "/tmp/no where"), (u, "\\\\0abs"))]'
    )
    rows = of_python(tracer, code.replace("\\\\0", "\\0"), "connect")
    assert [row.arguments[1] for row in rows] == [
        "inet:127.0.0.1:9", "inet6:[::1]:9", 'unix:"/tmp/no\\040where"', 'unix:"\\000abs"'
    ]  # fmt: skip
    assert rows[0].arguments[2] == "16"
