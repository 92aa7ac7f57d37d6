"""A netlink family as its YNL specification describes it: names to numbers, values to bytes and back.

It reads what the project's own specification uses of the genetlink-legacy schema
(https://docs.kernel.org/userspace-api/netlink/genetlink-legacy.html), and refuses what it does not know.
Nothing in here needs more than the standard library of Python 3.9, but `load`, which needs PyYAML: so the contract
tests run this very file on the machine under test.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ALIGN = 4
"""Attributes begin at multiples of this (`NLA_ALIGNTO`)."""
_HEADER = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_SCALARS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s8": "b", "s16": "h", "s32": "i", "s64": "q"}

Values = dict[str, Any]
"""Attributes by name; of one that may come several times, a list."""


class SpecError(Exception):
    """The specification, or a message, is not as the schema has it."""


@dataclass(frozen=True)
class Enum:
    """Names for numbers, or for bits if `flags`."""

    name: str
    doc: str
    flags: bool
    entries: dict[str, int]
    docs: dict[str, str]

    def names(self, bits: int) -> list[str]:
        """Return the names of the bits that are set."""
        return [name for name, bit in self.entries.items() if bits >> bit & 1]

    def name_of(self, number: int) -> str:
        """Return the name of a number; the number itself, as text, where it has none."""
        return next((name for name, value in self.entries.items() if value == number), str(number))


@dataclass(frozen=True)
class Member:
    """A member of a struct; `length` bytes if it is binary."""

    name: str
    type: str
    doc: str
    length: int
    enum: str | None

    @property
    def format(self) -> str:
        """The member's letter, as the module `struct` has them."""
        return _SCALARS.get(self.type, f"{self.length}s")

    @property
    def size(self) -> int:
        """Bytes."""
        return struct.calcsize("=" + self.format)


@dataclass(frozen=True)
class Record:
    """A struct in the byte order of the machine, without holes."""

    name: str
    doc: str
    members: tuple[Member, ...]
    layout: struct.Struct = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.layout.size

    def unpack(self, data: bytes, offset: int = 0) -> dict[str, Any]:
        """Return the members by name, as they lie at `offset` of `data`."""
        names = [member.name for member in self.members]
        return dict(zip(names, self.layout.unpack_from(data, offset)))  # noqa: B905  # strict= is Python 3.10's


@dataclass(frozen=True)
class Attribute:
    """An attribute of a set: `number` is its type on the wire."""

    name: str
    number: int
    type: str
    doc: str
    multi: bool
    enum: str | None
    checks: dict[str, int]

    def encode(self, value: object) -> bytes:
        """Return the payload.

        Raises:
            SpecError: the value is not of the attribute's type.
        """
        if self.type == "string" and isinstance(value, str):
            return value.encode("utf-8", "surrogateescape") + b"\0"
        if self.type == "binary" and isinstance(value, bytes):
            return value
        if self.type in _SCALARS and isinstance(value, int):
            try:
                return struct.pack("=" + _SCALARS[self.type], value)
            except struct.error as error:
                raise SpecError(f"{self.name}: {value} does not fit into a {self.type}") from error
        raise SpecError(f"{value!r} is no value of {self.name} ({self.type})")

    def decode(self, payload: bytes) -> int | str | bytes:
        """Return the value of a payload.

        Raises:
            SpecError: the payload has not the length of the type.
        """
        if self.type in _SCALARS:
            try:
                (number,) = struct.unpack("=" + _SCALARS[self.type], payload)
            except struct.error as error:
                raise SpecError(f"{self.name}: {len(payload)} bytes are no {self.type}") from error
            return int(number)
        if self.type == "string":
            return payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return payload


@dataclass(frozen=True)
class AttributeSet:
    """A space of attributes."""

    name: str
    prefix: str
    attributes: tuple[Attribute, ...]

    def get(self, name: str) -> Attribute:
        """Return an attribute by its name.

        Raises:
            SpecError: there is none.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise SpecError(f"{self.name} has no attribute {name}")

    def encode(self, values: Values) -> bytes:
        """Return attributes as they are sent, in the order given; a list stands for several of the same.

        Raises:
            SpecError: an attribute is not in the set, or a value not of its type.
        """
        parts: list[bytes] = []
        for name, value in values.items():
            attribute = self.get(name)
            several = value if isinstance(value, (list, tuple)) else [value]
            parts += [pack(attribute.number, attribute.encode(one)) for one in several]
        return b"".join(parts)

    def decode(self, data: bytes) -> Values:
        """Return received attributes by name; those the set does not have are left out.

        Raises:
            SpecError: they are cut short, or one has not the length of its type.
        """
        known = {attribute.number: attribute for attribute in self.attributes if attribute.type != "pad"}
        values: Values = {}
        for number, payload in unpack(data):
            attribute = known.get(number)
            if attribute is None:
                continue
            value = attribute.decode(payload)
            if attribute.multi:
                values.setdefault(attribute.name, []).append(value)
            else:
                values[attribute.name] = value
        return values


@dataclass(frozen=True)
class Operation:
    """A command: `requests` and `replies` are the attributes of `do` or `dump`; an event has replies only.

    Attributes:
        kinds: of `do`, `dump`, `event`.
        group: the multicast group of an event.
        pre, post: what the kernel's side calls around a dump.
    """

    name: str
    number: int
    doc: str
    attributes: str
    flags: tuple[str, ...]
    kinds: tuple[str, ...]
    requests: tuple[str, ...]
    replies: tuple[str, ...]
    group: str | None
    pre: str | None
    post: str | None


@dataclass(frozen=True)
class Spec:
    """A generic netlink family."""

    name: str
    version: int
    doc: str
    header: str
    operation_prefix: str
    enums: dict[str, Enum]
    records: dict[str, Record]
    sets: dict[str, AttributeSet]
    operations: dict[str, Operation]
    groups: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, tree: dict[str, Any]) -> Spec:
        """Return the family that a parsed specification describes.

        Raises:
            SpecError: a key, a type or a reference is unknown.
        """
        operations = tree["operations"]
        definitions = tree.get("definitions", [])
        groups = tree.get("mcast-groups", {}).get("list", [])
        spec = cls(
            name=tree["name"],
            version=tree.get("version", 1),
            doc=tree["doc"].strip(),
            header=tree.get("uapi-header", ""),
            operation_prefix=operations.get("name-prefix", f"{tree['name']}-cmd-"),
            enums={each["name"]: _enum(each) for each in definitions if each["type"] in ("enum", "flags")},
            records={each["name"]: _record(each) for each in definitions if each["type"] == "struct"},
            sets={each["name"]: _attribute_set(tree["name"], each) for each in tree["attribute-sets"]},
            operations={},
            groups={each["name"]: tuple(each.get("flags", ())) for each in groups},
        )
        spec.operations.update(_operations(operations["list"]))
        _check(tree, spec)
        return spec

    def operation(self, number: int) -> Operation | None:
        """Return the operation of a number, None if there is none."""
        return next((each for each in self.operations.values() if each.number == number), None)


def load(path: Path) -> Spec:
    """Read a specification.

    Raises:
        SpecError: it is not one that this reader understands.
        OSError: it cannot be read.
    """
    import yaml  # noqa: PLC0415  # the machine under test may not have it

    return Spec.of(yaml.safe_load(path.read_text()))


def pack(number: int, payload: bytes) -> bytes:
    """Return one attribute as it is sent, padded."""
    return _HEADER.pack(_HEADER.size + len(payload), number) + payload + bytes(-len(payload) % ALIGN)


def unpack(data: bytes) -> list[tuple[int, bytes]]:
    """Return the attributes in `data`, as (number, payload).

    Raises:
        SpecError: the last one is cut short.
    """
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, number = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise SpecError(f"an attribute of {length} bytes in a message with {len(data) - offset} left")
        found.append((number & _TYPE_MASK, data[offset + _HEADER.size : offset + length]))
        offset += length + -length % ALIGN
    return found


def _doc(tree: dict[str, Any]) -> str:
    return " ".join(tree.get("doc", "").split())


def _enum(tree: dict[str, Any]) -> Enum:
    entries: dict[str, int] = {}
    docs: dict[str, str] = {}
    number = tree.get("value-start", 0)
    for each in tree["entries"]:
        entry = {"name": each} if isinstance(each, str) else each
        number = entry.get("value", number)
        entries[entry["name"]] = number
        docs[entry["name"]] = _doc(entry)
        number += 1
    return Enum(tree["name"], _doc(tree), tree["type"] == "flags", entries, docs)


def _record(tree: dict[str, Any]) -> Record:
    members = tuple(
        Member(each["name"], each["type"], _doc(each), each.get("len", 0), each.get("enum")) for each in tree["members"]
    )
    for member in members:
        if member.type not in _SCALARS and not (member.type == "binary" and member.length):
            raise SpecError(f"{tree['name']}.{member.name}: {member.type} is not for a struct")
    layout = struct.Struct("=" + "".join(member.format for member in members))
    return Record(tree["name"], _doc(tree), members, layout)


def _attribute_set(family: str, tree: dict[str, Any]) -> AttributeSet:
    attributes: list[Attribute] = []
    number = 1
    for each in tree["attributes"]:
        number = each.get("value", number)
        checks = dict(each.get("checks", {}))
        multi = each.get("multi-attr", False)
        attributes.append(Attribute(each["name"], number, each["type"], _doc(each), multi, each.get("enum"), checks))
        number += 1
    return AttributeSet(tree["name"], tree.get("name-prefix", f"{family}-a-{tree['name']}-"), tuple(attributes))


def _operations(trees: list[dict[str, Any]]) -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    number = 1
    for tree in trees:
        number = tree.get("value", number)
        kinds = tuple(kind for kind in ("do", "dump", "event") if kind in tree)
        bodies = [tree[kind] for kind in kinds]
        requests = [name for body in bodies for name in body.get("request", {}).get("attributes", [])]
        replies = [name for body in bodies for name in body.get("reply", body).get("attributes", [])]
        found[tree["name"]] = Operation(
            tree["name"],
            number,
            _doc(tree),
            tree["attribute-set"],
            tuple(tree.get("flags", ())),
            kinds,
            tuple(requests),
            tuple(replies),
            tree.get("mcgrp"),
            *(next((body[hook] for body in bodies if hook in body), None) for hook in ("pre", "post")),
        )
        number += 1
    return found


_KEYS = {
    "": {"name", "protocol", "doc", "version", "uapi-header", "kernel-policy", "definitions", "attribute-sets"}
    | {"operations", "mcast-groups"},
    "definitions": {"type", "name", "doc", "entries", "members", "value-start"},
    "members": {"name", "type", "doc", "len", "enum"},
    "attribute-sets": {"name", "name-prefix", "doc", "attributes"},
    "attributes": {"name", "type", "doc", "value", "multi-attr", "enum", "checks"},
    "operations": {"name", "doc", "value", "attribute-set", "flags", "do", "dump", "event", "mcgrp"},
    "bodies": {"name", "request", "reply", "attributes", "pre", "post"},
    "mcast-groups": {"name", "flags"},
}
"""What this reader understands of each kind of entry; the rest of the schema it would silently ignore."""


def _entries(tree: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = [("", tree)]
    for definition in tree.get("definitions", []):
        found.append(("definitions", definition))
        found += [("members", member) for member in definition.get("members", [])]
    for each in tree["attribute-sets"]:
        found.append(("attribute-sets", each))
        found += [("attributes", attribute) for attribute in each["attributes"]]
    for operation in tree["operations"]["list"]:
        found.append(("operations", operation))
        bodies = [operation[kind] for kind in ("do", "dump", "event") if kind in operation]
        found += [("bodies", {"name": operation["name"], **body}) for body in bodies]
    return found + [("mcast-groups", group) for group in tree.get("mcast-groups", {}).get("list", [])]


def _check(tree: dict[str, Any], spec: Spec) -> None:
    for kind, entry in _entries(tree):
        if unknown := set(entry) - _KEYS[kind]:
            raise SpecError(f"{entry['name']}: {', '.join(sorted(unknown))} is not understood")
    for each in spec.sets.values():
        for attribute in each.attributes:
            _check_attribute(spec, attribute)
    for operation in spec.operations.values():
        _check_operation(spec, operation)


def _check_attribute(spec: Spec, attribute: Attribute) -> None:
    if attribute.type not in (*_SCALARS, "string", "binary", "pad"):
        raise SpecError(f"{attribute.name}: the type {attribute.type} is not understood")
    if attribute.enum and attribute.enum not in spec.enums:
        raise SpecError(f"{attribute.name}: there is no enum {attribute.enum}")


def _check_operation(spec: Spec, operation: Operation) -> None:
    if operation.attributes not in spec.sets:
        raise SpecError(f"{operation.name}: there is no attribute set {operation.attributes}")
    for name in (*operation.requests, *operation.replies):
        spec.sets[operation.attributes].get(name)
    if operation.group and operation.group not in spec.groups:
        raise SpecError(f"{operation.name}: there is no group {operation.group}")
