"""The signatures of the tracer are those of the headers of the oldest to the newest kernel. Boots nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.image import build_image
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir

from .test_build import RELEASES

TABLE = project_dir() / "kernel" / "syscall_tracer" / "signature.c"
#: what the kernel calls a call -> what user space calls it: see aliases[] in call.c
ALIASES = {"newstat": "stat", "newfstat": "fstat", "newlstat": "lstat", "newuname": "uname", "umount": "umount2"}
#: a call of user space -> the prototypes in the headers that have another number of arguments, and why
OTHER_LENGTH = {
    "bpf": "7.x takes two more, which only a flag announces: without it they are what was in the registers",
}
#: what a call without arguments is declared with
NO_ARGUMENTS = (["void"], ["struct pt_regs *regs"])
#: kinds that are addresses; and those that may be, for a number may be best read in hexadecimal
POINTERS, NUMBERS = "pa*", "fDiulzxm*"
#: names that the headers keep a number for, and that no kernel implements
UNIMPLEMENTED = {
    "_sysctl", "afs_syscall", "create_module", "get_kernel_syms", "getpmsg", "nfsservctl", "putpmsg", "query_module",
    "security", "tuxcall", "vserver", "epoll_ctl_old", "epoll_wait_old",
}  # fmt: skip


def signatures() -> dict[str, str]:
    """Return the table of signature.c of the native calls, which stands before that of 32-bit programs."""
    native, _ = TABLE.read_text().split("compat_signatures[] = {")
    return dict(re.findall(r'\{ "(\w+)", "([^"]*)" \},', native))


def headers(release: str) -> Path:
    """Return the directory of a release's linux-headers that all flavours share."""
    root = BuildRoot.of_image(build_image(planned(release)))
    (common,) = root.directory.glob("usr/src/linux-headers-*-common*")
    return common


def prototypes(directory: Path) -> dict[str, list[list[str]]]:
    """Return the arguments of each `sys_NAME()` that the headers declare; old calls come in several forms."""
    found: dict[str, list[list[str]]] = {}
    for name in ("include/linux/syscalls.h", "include/asm-generic/syscalls.h"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", (directory / name).read_text(), flags=re.DOTALL)
        # On one architecture, which is neither x86 nor arm64, clone() has an argument more.
        text = re.sub(r"#ifdef CONFIG_CLONE_BACKWARDS3.*?#else", "", text, flags=re.DOTALL)
        for symbol, arguments in re.findall(r"asmlinkage\s+[\w ]*?\bsys_(\w+)\s*\(([^;]*?)\)\s*;", text):
            words = [" ".join(argument.split()) for argument in arguments.split(",")]
            found.setdefault(ALIASES.get(symbol, symbol), []).append([] if words in NO_ARGUMENTS else words)
    return found


def fits(signature: str, arguments: list[str]) -> bool:
    """Whether a signature has a letter of the right kind for each argument."""
    kinds = [POINTERS if re.search(r"[*\[]", argument) else NUMBERS for argument in arguments]
    return len(signature) == len(kinds) and all(map(str.__contains__, kinds, signature))


def names_in(path: Path) -> set[str]:
    """Return the names that a header has numbers for."""
    return set(re.findall(r"#define __NR(?:3264)?_(\w+)\s", path.read_text())) - {"syscalls", "syscall_max"}


def names(directory: Path) -> set[str]:
    """Return the names of all system calls that x86-64 and arm64 have, native and 32-bit."""
    found: set[str] = set()
    generated = sorted(directory.parent.glob("linux-headers-*/arch/*/include/generated/uapi/asm/unistd_*.h"))
    assert generated
    for path in (*generated, directory / "include" / "uapi" / "asm-generic" / "unistd.h"):
        if path.exists():
            found |= names_in(path)
    return found


def native_names(directory: Path) -> set[str]:
    """Return the names of x86-64's own calls; of those that all newer architectures share, on another image."""
    generated = sorted(directory.parent.glob("linux-headers-*/arch/x86/include/generated/uapi/asm/unistd_64.h"))
    shared = directory / "include" / "uapi" / "asm-generic" / "unistd.h"
    return names_in(generated[0] if generated else shared)


@pytest.mark.parametrize("release", RELEASES)
def test_signatures_are_those_of_the_prototypes(release: str) -> None:
    """Each call has as many letters as the kernel's prototype has arguments, and a pointer where that has one."""
    table, declared = signatures(), prototypes(headers(release))
    known = set(table) & set(declared)
    assert len(known) > 300
    fine = {name for name in known if any(fits(table[name], arguments) for arguments in declared[name])}
    wrong = {name: (table[name], declared[name]) for name in known - fine}
    assert wrong.keys() <= OTHER_LENGTH.keys(), wrong


@pytest.mark.parametrize("release", RELEASES)
def test_every_native_call_has_a_signature(release: str) -> None:
    """No call of x86-64 is shown as six pointers because nobody looked it up."""
    assert native_names(headers(release)) - UNIMPLEMENTED - set(signatures()) == set()


def test_every_signature_is_of_a_call() -> None:
    """There is no signature under a name that no kernel's headers know."""
    known = set().union(*(names(headers(release)) for release in RELEASES))
    assert set(signatures()) - known == set()


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [("x*****", ["unsigned long"] * 2 + ["int *"] * 2 + ["unsigned long"]), ("zz", ["char *name", "size_t n"])],
)
def test_a_wrong_signature_is_seen(signature: str, arguments: list[str]) -> None:
    """The check above sees a letter too many, and a number in place of a pointer."""
    assert not fits(signature, arguments)
