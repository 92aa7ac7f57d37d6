"""Records: where what lies in them, and how their arguments are shown."""

from __future__ import annotations

import re
import socket
import struct

import pytest

from kmodlab.errors import KmodlabError, UsageError
from kmodlab.modules import Filter
from kmodlab.modules.decode import Signature, comm_text, escape, inet6, sockaddr, unescape
from kmodlab.modules.families import FAMILIES, members
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.record import COMPAT, LAYOUT, TRUNCATED, Row, made_at, record, rows
from kmodlab.paths import project_dir

from . import fake_netlink
from .fake_netlink import item

SPEC = tracer_spec()

FAR = (1 << 64) - 1


def row(data: bytes = b"", args: tuple[int, ...] = (), **fields: int) -> Row:
    """Return one record as a row."""
    (one,) = rows(fake_netlink.record(data, args, b"cat", **fields))
    return one


def test_a_record_lies_as_the_specification_says() -> None:
    """The arguments are one member there, and six here; all else is the same, in the same order."""
    spec = SPEC.records["record"]
    assert LAYOUT.format == spec.layout.format.replace("48s", "6Q")
    data = bytes(range(spec.size))
    plain = [value for name, value in spec.unpack(data).items() if name != "args"]
    assert [value for at, value in enumerate(LAYOUT.unpack(data)) if not 4 <= at < 10] == plain
    assert b"".join(struct.pack("=Q", value) for value in LAYOUT.unpack(data)[4:10]) == spec.unpack(data)["args"]


def test_a_record_says_what_was_sent() -> None:
    args = (1, 2, 3, 4, 5, FAR)
    numbers = {"seq": 7, "clock": 8, "latency": 9, "ret": -2, "jiffies": 10, "pid": 11, "tid": 12, "ppid": 13}
    one = row(b"", args, uid=14, call=15, cpu=1, status=1, flags=0b11111, **numbers)
    assert one[4:10] == args
    shown = vars(record(one, "read", ["3"], "cat"))
    assert shown.pop("call") == "read"
    assert shown == {
        "arguments": ("3",), "returned": -2, "latency": 9, "blocked": True, "enforced": True, "pid": 11, "tid": 12,
        "ppid": 13, "uid": 14, "comm": "cat", "abi": 32, "clock": 8, "jiffies": 10, "cpu": 1, "seq": 7,
        "unreadable": True, "truncated": True,
    }  # fmt: skip
    assert made_at(one) == 17


def test_what_is_not_known_is_none() -> None:
    shown = record(row(ret=5, latency=6, clock=1), "read", [], "cat")
    assert (shown.returned, shown.latency, shown.blocked, shown.abi) == (None, None, False, 64)
    assert record(row(ret=-1, flags=4), "read", [], "cat").returned == -1
    assert made_at(row(ret=5, latency=6, clock=1)) == 1


def test_records_with_and_without_data_follow_one_another() -> None:
    sent = [b"", b"x", b"", b"12345678", b"123456789", b""]
    batch = b"".join(fake_netlink.record(data, seq=number) for number, data in enumerate(sent))
    found = rows(batch)
    assert [(one[0], one[21] if one[19] else b"") for one in found] == list(enumerate(sent))


@pytest.mark.parametrize("missing", [1, 8, 9, 130])
def test_a_batch_that_is_cut_short(missing: int) -> None:
    batch = fake_netlink.record() + fake_netlink.record(b"x" * 12)
    with pytest.raises(KmodlabError, match="ends in the middle of a record"):
        rows(batch[:-missing])


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("f", 3, "3"),
        ("f", FAR, "-1"),
        ("f", 0xFFFFFFFF, "-1"),
        ("f", 1 << 32 | 5, "5"),
        ("f", FAR - 99, "-100"),
        ("D", FAR - 99, "AT_FDCWD"),
        ("D", 0xFFFFFF9C, "AT_FDCWD"),
        ("D", 4, "4"),
        ("i", 0x80000000, "-2147483648"),
        ("u", FAR, "4294967295"),
        ("l", FAR, "-1"),
        ("l", 1 << 62, str(1 << 62)),
        ("z", FAR, str(FAR)),
        ("x", FAR, "0xffffffff"),
        ("x", 0, "0x0"),
        ("m", 0, "00"),
        ("m", 0o644, "0644"),
        ("m", FAR, "07777777"),
        ("*", 0, "0x0"),
        ("*", FAR, "0xffffffffffffffff"),
        ("p", 8, "0x8"),
        ("a", FAR, "0xffffffffffffffff"),
        ("?", 16, "0x10"),
    ],
)
def test_numbers_are_shown_by_their_kind(kind: str, value: int, shown: str) -> None:
    assert Signature("call", kind, 128).column(row(args=(value,))) == shown


def test_paths_are_quoted_escaped_and_cut_visibly() -> None:
    two = Signature("renameat", "DpDp", 128)
    args = (FAR - 99, 1, 5, 2)
    short = item(1, b'a b"\\\xff,') + item(3, b"")
    assert two.column(row(short, args)) == r'AT_FDCWD,"a\040b\042\134\377,",5,""'
    full = item(1, b"y" * 60) + item(3, b"z" * 59)
    assert two.column(row(full, args)) == f'AT_FDCWD,"{"y" * 60}",5,"{"z" * 59}"'
    assert two.column(row(full, args, flags=TRUNCATED)) == f'AT_FDCWD,"{"y" * 60}"...,5,"{"z" * 59}"'
    one = Signature("open", "pxm", 128)
    assert one.column(row(item(0, b"y" * 123), flags=TRUNCATED)).startswith(f'"{"y" * 123}",')
    assert one.column(row(item(0, b"y" * 124), flags=TRUNCATED)).startswith(f'"{"y" * 124}"...,')


def test_three_paths_share_the_room_of_two() -> None:
    three = Signature("odd", "ppp", 128)
    assert three.column(row(item(0, b"y" * 59), flags=TRUNCATED)) == f'"{"y" * 59}",0x0,0x0'
    assert three.column(row(item(0, b"y" * 60), flags=TRUNCATED)) == f'"{"y" * 60}"...,0x0,0x0'


def test_of_two_paths_the_one_that_could_not_be_read_is_a_pointer() -> None:
    assert Signature("rename", "pp", 128).column(row(item(1, b"/b"), (0x10, 0x20))) == '0x10,"/b"'


def test_a_call_without_arguments() -> None:
    assert Signature("getppid", "", 128).column(row(args=(1, 2))) == "-"


def test_more_letters_than_registers_and_items_for_no_argument() -> None:
    assert Signature("odd", "i" * 8, 128).column(row(item(7, b"x"), (1,))) == "1,0,0,0,0,0"


@pytest.mark.parametrize(
    ("kinds", "args", "shown"),
    [
        ("f*zL-", (FAR, 1 << 32 | 9, 7, 1 << 40 | 5, 1), "-1,0x9,7,4294967301"),
        ("fL-", (3, 0, 1 << 31), "3,-9223372036854775808"),
        ("fxH-Dp", (3, FAR, 2, 1, FAR - 99, 8), "3,0xffffffff,0x100000002,AT_FDCWD,0x8"),
        ("fl", (3, 0xFFFFFFFE), "3,-2"),
        ("fiiiiL", (1, 2, 3, 4, 5, 6), "1,2,3,4,5,6"),
    ],
)
def test_registers_of_a_32_bit_program(kinds: str, args: tuple[int, ...], shown: str) -> None:
    """Their upper halves mean nothing, and 64 bits take two of them."""
    assert Signature("call", kinds, 128, compat=True).column(row(args=args, flags=COMPAT)) == shown


def test_a_path_behind_a_second_half() -> None:
    marked = Signature("fanotify_mark", "fxH-Dp", 128, compat=True)
    assert marked.column(row(item(5, b"/x"), (3, 1, 2, 0, 4, 8))) == '3,0x1,0x2,4,"/x"'


INET6 = socket.AF_INET6.to_bytes(2, "little") + b"\x00\x50" + bytes(4)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x02\x00\x00\x50\x7f\x00\x00\x01" + bytes(8), "inet:127.0.0.1:80"),
        (b"\x02\x00\x00\x50\x7f\x00\x00\x01" + bytes(7), "family:2"),
        (INET6 + bytes(15) + b"\x01" + bytes(4), "inet6:[::1]:80"),
        (INET6 + bytes(15) + b"\x01", "inet6:[::1]:80"),
        (INET6 + bytes(15), "family:10"),
        (b"\x01\x00/run/x\x00junk", 'unix:"/run/x"'),
        (b"\x01\x00/run/x", 'unix:"/run/x"'),
        (b"\x01\x00\x00ab\x00s", r'unix:"\000ab\000s"'),
        (b"\x01\x00", 'unix:""'),
        (b"\x10\x00abc", "family:16"),
        (b"\x10", "family:?"),
        (b"", "family:?"),
    ],
)
def test_socket_addresses(raw: bytes, shown: str) -> None:
    assert sockaddr(raw) == shown
    assert Signature("connect", "fai", 128).column(row(item(1, raw), (3, 9, 16))) == f"3,{shown},16"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("0 0 0 0 0 0 0 0", "::"),
        ("1 0 0 0 0 0 0 0", "1::"),
        ("fe80 0 0 0 1 2 3 4", "fe80::1:2:3:4"),
        ("1 0 2 3 4 5 6 7", "1:0:2:3:4:5:6:7"),  # one zero is not worth it
        ("1 0 0 2 0 0 3 4", "1::2:0:0:3:4"),  # the first of two as long
        ("1 0 0 2 0 0 0 4", "1:0:0:2::4"),
        ("0 0 0 0 0 ffff 7f00 1", "::ffff:127.0.0.1"),
        ("0 0 0 0 0 0 7f00 1", "::7f00:1"),  # inet_ntop would make it ::127.0.0.1
        ("fe80 0 0 0 0 5efe c000 201", "fe80::5efe:192.0.2.1"),
        ("fe80 0 0 0 200 5efe c000 201", "fe80::200:5efe:192.0.2.1"),
        ("1 2 3 4 5 6 7 8", "1:2:3:4:5:6:7:8"),
    ],
)
def test_ipv6_addresses_are_written_as_the_kernel_does(words: str, shown: str) -> None:
    assert inet6(struct.pack("!8H", *(int(word, 16) for word in words.split()))) == shown


def test_names_are_one_word() -> None:
    assert comm_text(b"a b\n\\\xff\x00rest".ljust(16, b"\0")) == r"a\040b\012\134\377"
    assert comm_text(bytes(16)) == "\\000"
    assert comm_text(b"x" * 16) == "x" * 16


def test_every_byte_can_be_escaped_and_comes_back() -> None:
    every = bytes(range(256))
    assert re.fullmatch(r"[!-~]*", escape(every))
    assert unescape(escape(every)) == every


@pytest.mark.parametrize("bad", ["\\", "\\12", "\\128", "\\400x", "a\\b"])
def test_bad_escapes(bad: str) -> None:
    with pytest.raises(ValueError, match=r"octal|range"):
        unescape(bad)


def test_the_families_are_the_modules() -> None:
    source = (project_dir() / "kernel/syscall_tracer/family.c").read_text()
    table = source[source.index("families[] = {") : source.index("\n};", source.index("families[] = {"))]
    found = {
        name: " ".join(re.findall(r'"(\w+)"', calls)) for name, calls in re.findall(r'\{ "(\w+)",\s*\{([^}]*)\}', table)
    }
    assert found == FAMILIES
    assert members(["unlink", "=open", "getppid"]) == {"unlink", "unlinkat", "open", "getppid"}


@pytest.mark.parametrize(
    "words",
    [
        "unlink block",
        "=unlinkat allow pid=0 uid=4294967295 comm=a\\040b path=/etc/",
        "open block errno=EACCES pid=2147483647 path=/x",
    ],
)
def test_filters_are_read_as_they_are_written(words: str) -> None:
    one = Filter.parse(words.split())
    name, verdict, *rest = words.split()
    assert str(one) == " ".join([f"{name}: {verdict.upper()}", *rest])


def test_an_errno_may_be_a_number() -> None:
    assert Filter.parse(["open", "block", "errno=13"]) == Filter.parse(["open", "block", "errno=EACCES"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("unlink", "'unlink' is no filter"),
        ("unlink deny", "'unlink deny' is no filter"),
        ("unlink block now", "'now' is no predicate"),
        ("unlink block tid=1", "'tid=1' is no predicate"),
        ("unlink block pid=1 pid=2", "or given twice"),
        ("unlink block pid=-1", "pid=-1: it is no pid"),
        ("unlink block pid=2147483648", "it is no pid"),
        ("unlink block pid=\u0663", "it is no pid"),
        ("unlink block uid=4294967296", "it is no uid"),
        ("unlink block errno=EWHAT", "it is no errno"),
        ("unlink block errno=0", "it is no errno"),
        ("unlink block errno=134", "it is no errno"),
        ("unlink allow errno=1", "errno= is for block"),
        ("unlink block comm=", "it takes 1 to 15 bytes"),
        ("unlink block comm=" + "x" * 16, "it takes 1 to 15 bytes"),
        ("unlink block path=/\\000", "none of them zero"),
        ("unlink block path=/\\9", "octal"),
    ],
)
def test_what_is_no_filter(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Filter.parse(words.split(" "))
    assert message in caught.value.message
