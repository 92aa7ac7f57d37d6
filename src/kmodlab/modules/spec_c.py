"""What the tracer's C has of its netlink specification: `python -m kmodlab.modules.spec_c` writes it anew.

uapi.h, for programs, has the numbers; netlink_gen.c and .h, for the module, the policies, the operations, the group,
and the proof that the compiler lays struct sct_record out as the specification says.
"""

from __future__ import annotations

from .family import SPECIFICATION
from .spec import Attribute, AttributeSet, Enum, Operation, Record, Spec, load

# Beside the specification itself: only a checkout writes it.
FOLDER = SPECIFICATION.resolve().parents[1] / "syscall_tracer"
_LICENCE = "SPDX-License-Identifier: GPL-2.0-only"
_FROM = "Made by `python -m kmodlab.modules.spec_c` from kernel/specs/%s.yaml."
_ADMIN = {"admin-perm": "GENL_ADMIN_PERM"}


def files(spec: Spec) -> dict[str, str]:
    """Return the generated files by name."""
    return {"uapi.h": _uapi(spec), "netlink_gen.h": _header(spec), "netlink_gen.c": _source(spec)}


def _c(*words: str) -> str:
    return "_".join(word.strip("-") for word in words).replace("-", "_")


def _upper(*words: str) -> str:
    return _c(*words).upper()


def _top(spec: Spec, about: str) -> str:
    return f" * {spec.name}: {about}\n *\n * {_FROM % spec.name}\n */\n"


def _guarded(spec: Spec, name: str, about: str, body: str) -> str:
    guard = _upper(spec.name, name)
    top = f"/* {_LICENCE} */\n/*\n{_top(spec, about)}"
    return f"{top}#ifndef {guard}\n#define {guard}\n\n{body}\n#endif /* {guard} */\n"


def _enum(name: str, values: list[str]) -> str:
    return "\n".join([f"enum {name} {{".replace("  ", " "), *(f"\t{value}," for value in values), "};", ""])


def _named_enum(enum: Enum) -> str:
    values = [f"{_upper('sct', enum.name, key)} = {number}" for key, number in enum.entries.items()]
    return f"/* {enum.doc} */\n{_enum(_c('sct', enum.name), values)}"


def _attribute_enum(each: AttributeSet) -> str:
    values = [f"{_upper(each.prefix, attribute.name)} = {attribute.number}" for attribute in each.attributes]
    return _enum("", values)


def _uapi(spec: Spec) -> str:
    names = [("SCT_FAMILY_NAME", f'"{spec.name}"'), ("SCT_FAMILY_VERSION", str(spec.version))]
    names += [(_upper("sct-group", group), f'"{group}"') for group in spec.groups]
    parts = ["".join(f"#define {name}\t{value}\n" for name, value in names)]
    parts += [_named_enum(enum) for enum in spec.enums.values() if not enum.flags]
    parts += [_attribute_enum(each) for each in spec.sets.values()]
    commands = [f"{_upper(spec.operation_prefix, each.name)} = {each.number}" for each in spec.operations.values()]
    parts.append(_enum("", commands))
    return _guarded(spec, "uapi-h", "the numbers of its netlink family.", "\n".join(parts))


def _served(spec: Spec) -> list[Operation]:
    return [each for each in spec.operations.values() if "event" not in each.kinds]


def _handlers(operation: Operation) -> list[tuple[str, str, str]]:
    """Return the handlers of an operation: field of genl_ops, function, parameters."""
    name = _c("sct-nl", operation.name)
    callback = "struct netlink_callback *cb"
    found = []
    if "do" in operation.kinds:
        found.append(("doit", f"{name}_doit", "struct sk_buff *skb, struct genl_info *info"))
    if "dump" in operation.kinds:
        if operation.pre:
            found.append(("start", _c(operation.pre), callback))
        found.append(("dumpit", f"{name}_dumpit", f"struct sk_buff *skb, {callback}"))
        if operation.post:
            found.append(("done", _c(operation.post), callback))
    return found


def _declaration(function: str, parameters: str) -> str:
    line = f"int {function}({parameters});"
    if len(line) <= 80:
        return line + "\n"
    first, rest = parameters.split(", ", 1)
    width = len(f"int {function}(")
    return f"int {function}({first},\n" + "\t" * (width // 8) + " " * (width % 8) + f"{rest});\n"


def _header(spec: Spec) -> str:
    groups = [_upper("sct-nlgrp", group) for group in spec.groups]
    body = ["#include <net/genetlink.h>\n", '#include "uapi.h"\n', "\n/* Indices of the groups. */\n"]
    body += [_enum("", groups), "\n"]
    body += [f"extern const struct genl_ops sct_nl_ops[{len(_served(spec))}];\n"]
    body += [f"extern const struct genl_multicast_group sct_nl_groups[{len(groups)}];\n", "\n"]
    body += [_declaration(*handler[1:]) for each in _served(spec) for handler in _handlers(each)]
    return _guarded(spec, "netlink-gen-h", "what serves its netlink family.", "".join(body))


def _policy_entry(attribute: Attribute, prefix: str) -> str:
    kind = "NLA_NUL_STRING" if attribute.type == "string" else f"NLA_{attribute.type.upper()}"
    low, high = attribute.checks.get("min"), attribute.checks.get("max")
    if attribute.type == "string":
        value = f"{{ .type = {kind}, .len = {attribute.checks['max-len']} }}"
    elif low is not None and high is not None:
        value = f"NLA_POLICY_RANGE({kind}, {low}, {high})"
    elif low is not None:
        value = f"NLA_POLICY_MIN({kind}, {low})"
    elif high is not None:
        value = f"NLA_POLICY_MAX({kind}, {high})"
    else:
        value = f"{{ .type = {kind} }}"
    return f"\t[{_upper(prefix, attribute.name)}] = {value},\n"


def _with_enum_limit(spec: Spec, attribute: Attribute) -> Attribute:
    """An attribute that is an enum takes no other number."""
    if not attribute.enum:
        return attribute
    checks = {"max": max(spec.enums[attribute.enum].entries.values()), **attribute.checks}
    return Attribute(**{**attribute.__dict__, "checks": checks})


def _policy(spec: Spec, operation: Operation) -> str:
    each = spec.sets[operation.attributes]
    attributes = [_with_enum_limit(spec, each.get(name)) for name in operation.requests]
    last = _upper(each.prefix, max(attributes, key=lambda attribute: attribute.number).name)
    name = f"{_c('sct', operation.name)}_policy"
    entries = "".join(_policy_entry(attribute, each.prefix) for attribute in attributes)
    return f"static const struct nla_policy {name}[{last} + 1] = {{\n{entries}}};\n\n"


def _operation(spec: Spec, operation: Operation) -> str:
    fields = [("cmd", _upper(spec.operation_prefix, operation.name))]
    fields += [(field, function) for field, function, _ in _handlers(operation)]
    if operation.requests:
        policy = f"{_c('sct', operation.name)}_policy"
        fields += [("policy", policy), ("maxattr", f"ARRAY_SIZE({policy}) - 1")]
    fields += [("flags", _ADMIN[flag]) for flag in operation.flags]
    return "\t{\n" + "".join(f"\t\t.{field}\t= {value},\n" for field, value in fields) + "\t},\n"


def _proof(spec: Spec, record: Record) -> str:
    name = f"struct {_c('sct', record.name)}"
    lines = [f"static_assert(sizeof({name}) == {record.size});\n"]
    offset = 0
    for member in record.members:
        lines.append(f"static_assert(offsetof({name}, {_c(member.name)}) == {offset});\n")
        offset += member.size
    flags = [spec.enums[member.enum] for member in record.members if member.enum and spec.enums[member.enum].flags]
    for enum in flags:
        lines += [f"static_assert(ilog2({_upper('sct', key)}) == {bit});\n" for key, bit in enum.entries.items()]
    return "".join(lines)


def _source(spec: Spec) -> str:
    served = _served(spec)
    body = [f"// {_LICENCE}\n/*\n", _top(spec, "the tables of its netlink family.")]
    body += ["#include <linux/build_bug.h>\n#include <linux/log2.h>\n#include <linux/stddef.h>\n\n"]
    body += ['#include "netlink_gen.h"\n#include "record.h"\n\n']
    body += [_policy(spec, each) for each in served if each.requests]
    body += [f"const struct genl_ops sct_nl_ops[{len(served)}] = {{\n"]
    body += [_operation(spec, each) for each in served]
    body += ["};\n\n", f"const struct genl_multicast_group sct_nl_groups[{len(spec.groups)}] = {{\n"]
    for group, flags in spec.groups.items():
        admin = ", COMPAT_MCAST_ADMIN" if "admin-perm" in flags else ""
        body.append(f'\t[{_upper("sct-nlgrp", group)}] = {{ .name = "{group}"{admin} }},\n')
    body += ["};\n\n/* What is sent lies as the specification says. */\n"]
    body += [_proof(spec, record) for record in spec.records.values()]
    return "".join(body)


def main() -> None:
    """Write the files."""
    for name, text in files(load(SPECIFICATION)).items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
