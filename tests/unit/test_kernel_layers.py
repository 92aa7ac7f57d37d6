"""The C of the tracer is built in layers: what a file uses lies below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

TRACER = project_dir() / "kernel/syscall_tracer"

LAYERS = (
    "param",
    "errno signature family stub",
    "call",
    "filter ring mode",
    "event deliver left_out",
    "entry",
    "probe ftrace",
    "returns canary",
    "hook",
    "point",
    "trace",
    "promise",
    "stage text stats",
    "command netlink",
    "proc",
    "main",
)
"""From the ground up; a file is named without its ending, and its header belongs to it."""
ONE = {"netlink_gen": "netlink"}
"""What is generated is part of what it is generated for."""
UNIT = "build.c"
"""The file that takes in the others: no layer of its own."""
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer.split()}

NAME = re.compile(r"\bsct_\w+")
FUNCTION = re.compile(r"^(?!static)(?:[a-z][^\n;={}()]*[ *\n])(sct_\w+)\([^;{}]*\)\n\{", re.MULTILINE)
INLINE = re.compile(r"^static [^;{}]*?(sct_\w+)\([^;{}]*\)\n\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"^(?!static|extern)[a-z][^\n;={}()]*[ *](sct_\w+)(?:\[\w*\])?(?: __\w+)*(?: =|;)", re.MULTILINE)
DEFINED = re.compile(r"^DEFINE_\w+\((?:struct \w+, )?(sct_\w+)\)", re.MULTILINE)
LABEL = re.compile(r"^(?:SYM_\w+\()?(sct_\w+)", re.MULTILINE)


def read_sources() -> dict[str, str]:
    """Return each file's text, without comments and strings."""
    files = [path for path in TRACER.iterdir() if path.suffix in (".c", ".h", ".S") and path.name != UNIT]
    return {
        path.name: re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', "", path.read_text(), flags=re.DOTALL) for path in files
    }


def unit_of(file: str) -> str:
    """Return the unit that a file belongs to."""
    stem = Path(file).stem
    return ONE.get(stem, stem)


def defined(file: str, text: str) -> set[str]:
    """Return the names that a file defines for others."""
    kinds = {".c": (FUNCTION, VARIABLE, DEFINED), ".h": (), ".S": (LABEL,)}[Path(file).suffix]
    return {name for kind in kinds for name in kind.findall(text)} | {match[1] for match in INLINE.finditer(text)}


def used(file: str, text: str) -> set[str]:
    """Return the names that a file's code uses: of a header, what is in the bodies of its inline functions."""
    bodies = [match[2] for match in INLINE.finditer(text)] if file.endswith(".h") else [text]
    return {name for body in bodies for name in NAME.findall(body)}


def references(sources: dict[str, str]) -> set[tuple[str, str, str]]:
    """Return who uses what of whom: unit, name, unit."""
    home = {name: unit_of(file) for file, text in sources.items() for name in defined(file, text)}
    return {
        (unit_of(file), name, home[name])
        for file, text in sources.items()
        for name in used(file, text)
        if name in home and home[name] != unit_of(file)
    }


def upwards(sources: dict[str, str]) -> list[str]:
    """Return each reference that does not point down."""
    return sorted(
        f"{user} uses {name} of {owner}" for user, name, owner in references(sources) if HEIGHT[user] <= HEIGHT[owner]
    )


def test_every_file_has_a_layer() -> None:
    """Each file that is compiled is in the table, once."""
    compiled = {unit_of(path.name) for path in TRACER.iterdir() if path.suffix in (".c", ".S")} - {"build"}
    assert sorted(compiled) == sorted(HEIGHT)
    assert len(HEIGHT) == len(" ".join(LAYERS).split())


@pytest.mark.parametrize("module", ["syscall_tracer", "task_lister"])
def test_every_file_is_built_once(module: str) -> None:
    """Kbuild names it, or the unit that Kbuild names takes it in."""
    folder = TRACER.parent / module
    (objects,) = re.findall(rf"^{module}-y := (.*)", (folder / "Kbuild").read_text(), re.MULTILINE)
    included = re.findall(r'^#include "(\w+)\.c"', (folder / UNIT).read_text(), re.MULTILINE)
    built = [*included, *(name.removesuffix(".o") for name in objects.split() if name != "build.o")]
    assert "build.o" in objects
    assert sorted(built) == sorted(
        path.stem for path in folder.iterdir() if path.suffix in (".c", ".S") and path.name != UNIT
    )


def test_the_unit_goes_from_the_ground_up() -> None:
    """What a file uses is above it there, as in the table."""
    included = re.findall(r'^#include "(\w+)\.c"', (TRACER / UNIT).read_text(), re.MULTILINE)
    heights = [HEIGHT[unit_of(name)] for name in included]
    assert heights == sorted(heights)


def test_all_names_have_a_home() -> None:
    """Each function that a header declares was found in some file: none escapes the walk."""
    sources = read_sources()
    homes = {name for file, text in sources.items() for name in defined(file, text)}
    declared = {
        name
        for file, text in sources.items()
        if file.endswith(".h")
        for name in re.findall(r"^(?!static)[a-z][^\n;={}()]*[ *](sct_\w+)\([^;{}]*\);", text, re.MULTILINE)
    }
    assert len(declared) > 80
    assert declared - homes == set()


def test_references_point_down() -> None:
    """No file uses what stands beside it or above it."""
    assert upwards(read_sources()) == []


CALLS_UP = "static void up(void)\n{{\n\t{}();\n}}\n"
INLINE_UP = "static inline void sct_up(void)\n{{\n\t{}();\n}}\n"


@pytest.mark.parametrize(
    ("file", "code", "told"),
    [
        ("ring.c", CALLS_UP.format("sct_trace_exit"), "ring uses sct_trace_exit of trace"),
        ("filter.h", INLINE_UP.format("sct_enforcing"), "filter uses sct_enforcing of mode"),
        ("netlink_gen.c", "int x = sct_proc_init;\n", "netlink uses sct_proc_init of proc"),
    ],
)
def test_a_reference_that_points_up_is_told(file: str, code: str, told: str) -> None:
    """A function, an inline one of a header, and an address are each seen."""
    sources = read_sources()
    sources[file] += code
    assert told in upwards(sources)
