"""The netlink specification: its reader, what is made from it, and the page that states it."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
import yaml

from kmodlab.modules import spec_c
from kmodlab.modules.family import SPECIFICATION
from kmodlab.modules.spec import Spec, SpecError, load, pack, unpack
from kmodlab.paths import project_dir

SPEC = load(SPECIFICATION)
PAGE = (project_dir() / "docs" / "abi.md").read_text()
KINDS = {"do": "do", "dump": "dump", "event": "notification"}


def tree() -> Any:
    """The specification as it is written."""
    return yaml.safe_load(SPECIFICATION.read_text())


def rows(heading: str) -> list[list[str]]:
    """The rows of the page's table whose first column is called so."""
    after = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after.splitlines()[2:]]


def code(cell: str) -> list[str]:
    """The words of a cell that are set as code."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("name", ["uapi.h", "netlink_gen.h", "netlink_gen.c"])
def test_generated_files_are_up_to_date(name: str) -> None:
    """The files in the module's folder are what the generator makes of the specification."""
    made = spec_c.files(SPEC)[name]
    assert (spec_c.FOLDER / name).read_text() == made, "run: python -m kmodlab.modules.spec_c"
    assert "Made by `python -m kmodlab.modules.spec_c` from kernel/specs/syscall_tracer.yaml." in made


def test_all_that_is_generated_is_compared() -> None:
    """No other file of the module says that it was generated."""
    made = {path.name for path in spec_c.FOLDER.glob("*.[ch]") if "Made by" in path.read_text()}
    assert made == set(spec_c.files(SPEC))


def test_the_page_has_the_operations() -> None:
    """docs/abi.md has each operation with its kind and its attributes, and no other."""
    shown = [(code(row[0])[0], row[1], sorted(code(row[2]))) for row in rows("operation")]
    wanted = [
        (each.name, KINDS[each.kinds[0]], sorted({*each.requests, *each.replies})) for each in SPEC.operations.values()
    ]
    assert shown == wanted


@pytest.mark.parametrize("name", SPEC.records)
def test_the_page_has_the_structs(name: str) -> None:
    """docs/abi.md has each member of the structs with its type, in their order."""
    shown = [(code(row[0])[0], row[1]) for row in rows(f"field of `struct sct_{name}`")]
    sizes = {"u64[6]": 48, "char[16]": 16, **{f"{sign}{bits}": bits // 8 for sign in "us" for bits in (8, 16, 32, 64)}}
    members = SPEC.records[name].members
    assert [field for field, _ in shown] == [member.name for member in members]
    for (field, kind), member in zip(shown, members, strict=True):
        assert kind == member.type or (member.type == "binary" and sizes[kind] == member.length), field


def test_the_page_has_the_flags_and_numbers() -> None:
    """docs/abi.md names each bit of the flags by its number, and the version and the group of the family."""
    meaning = next(row[2] for row in rows("field of `struct sct_record`") if code(row[0]) == ["flags"])
    assert {name: int(bit) for bit, name in re.findall(r"(\d) `(\w+)`", meaning)} == SPEC.enums["record-flags"].entries
    words = " ".join(PAGE.split())
    assert f"Version {SPEC.version}," in words
    assert list(SPEC.groups) == ["events", "blocked"]
    assert all(f"the group `{name}`" in words for name in SPEC.groups)


def test_the_page_explains_the_letters() -> None:
    """docs/abi.md has the letters of arguments that the module uses."""
    header = (spec_c.FOLDER / "tracer.h").read_text()
    letters = set(re.findall(r"#define SCT_ARG_\w+\s+'(.)'", header))
    (explained,) = re.findall(r"(?s)`arguments`\s+has\s+a\s+letter\s+for\s+each\s+argument:(.*?)\n\n", PAGE)
    assert {word for word in code(explained) if len(word) == 1} == letters


def test_values_survive_the_wire() -> None:
    """Attributes come back as they were sent, of each type, also several of one name."""
    values = {"name": "op\xe9n", "verdict": 1, "pid": 2147483647, "comm": "a\udcff", "uid": 4294967295}
    assert SPEC.sets["filter"].decode(SPEC.sets["filter"].encode(values)) == values
    calls = {"name": ["open", "read"], "traced": 0}
    sent = SPEC.sets["calls"].encode(calls)
    assert len(sent) % 4 == 0
    assert SPEC.sets["calls"].decode(sent) == calls
    assert SPEC.sets["batch"].decode(SPEC.sets["batch"].encode({"records": b"\0\1"})) == {"records": b"\0\1"}


def test_unknown_attributes_are_left_out() -> None:
    """A newer kernel's attribute is no error; a cut one is."""
    assert SPEC.sets["batch"].decode(pack(99, b"xyz") + pack(1, struct.pack("=I", 3))) == {"cpu": 3}
    with pytest.raises(SpecError, match="100 bytes in a message with 8 left"):
        unpack(struct.pack("=HHI", 100, 1, 0))


@pytest.mark.parametrize(("name", "value"), [("uid", -1), ("uid", "1"), ("comm", 5), ("pid", 1 << 31), ("nonsense", 1)])
def test_values_of_the_wrong_type_are_refused(name: str, value: object) -> None:
    """A value that is not of the attribute's type is refused before it is sent."""
    with pytest.raises(SpecError, match=name):
        SPEC.sets["filter"].encode({name: value})


def test_a_payload_of_the_wrong_length_is_refused() -> None:
    """A number of another length than its type is no number."""
    with pytest.raises(SpecError, match="cpu: 2 bytes are no u32"):
        SPEC.sets["batch"].decode(pack(1, b"\0\0"))


def test_a_record_is_unpacked() -> None:
    """A struct has its members at their offsets, without holes."""
    record = SPEC.records["record"]
    values = record.unpack(bytes(range(255))[: record.size + 1], 1)
    assert record.size == 128
    assert values["call"] == int.from_bytes(bytes([105, 106]), "little")
    assert values["comm"] == bytes(range(113, 129))
    assert SPEC.enums["record-flags"].names(0b10101) == ["returned", "enforced", "truncated"]
    assert SPEC.enums["mode"].name_of(1) == "enforcing"
    assert SPEC.enums["mode"].name_of(7) == "7"


def _with(path: list[Any], value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = tree()
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["kernel-polity"], "global", "kernel-polity is not understood"),
        (["attribute-sets", 0, "attributes", 1, "type"], "nest", "version: the type nest is not understood"),
        (["attribute-sets", 0, "attributes", 1, "sub-type"], "u8", "version: sub-type is not understood"),
        (["attribute-sets", 0, "attributes", 4, "enum"], "moods", "mode: there is no enum moods"),
        (["operations", "list", 0, "attribute-set"], "states", "status-get: there is no attribute set states"),
        (["operations", "list", 3, "do", "request", "attributes"], ["colour"], "calls has no attribute colour"),
        (["operations", "list", 8, "mcgrp"], "news", "event: there is no group news"),
        (["definitions", 3, "members", 0, "type"], "string", "record.seq: string is not for a struct"),
    ],
)
def test_what_the_reader_does_not_know_is_refused(path: list[Any], value: object, message: str) -> None:
    """A key, a type or a reference that the reader does not know is an error, not silently ignored."""
    with pytest.raises(SpecError, match=re.escape(message)):
        Spec.of(_with(path, value))
