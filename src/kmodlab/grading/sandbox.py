"""Building a submission, whose Makefile may be anything, where it can do no harm.

bubblewrap gives it the guest image's own compiler and headers, read-only, a build directory in memory, and
namespaces of its own: no network, no other process, none of the host's files. Limits: time, processes, memory, size of
a file, of the build directory and of what is printed. Nothing comes out but what was printed and the modules, as a
stream of bounded length.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import selectors
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kmodlab import namespaces
from kmodlab.errors import LabError
from kmodlab.grading.compiler import explain, first_error
from kmodlab.host import HOST, TMPDIR_HINT, Host, without_programs
from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.image import Image
from kmodlab.process import Deadline

How = Literal["makefile", "kbuild"]

_HERE = Path(__file__).parent
_PATH = "/kmodlab:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WATCH_SECONDS = 0.1
_MODULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,54}\.ko")
#: processes of the sandbox itself
_OWN = 4
#: bytes of modules that are taken out at most
_MODULES = 64 << 20
#: to look a line up takes a tenth of a second on an idle host; a module can be made so that it never ends
_LINE_SECONDS = 60
_TRUNCATED = b"\n[... the rest of what was printed is left out ...]\n"


@dataclass(frozen=True)
class BuildLimits:
    """What a build may take.

    Attributes:
        seconds: of time by the clock, and of each program's own.
        memory: MiB, of all its programs together.
        processes: at a time.
        disk: MiB, of the build directory.
        log: KiB, of what it prints.
    """

    seconds: float = 60
    memory: int = 1024
    processes: int = 128
    disk: int = 256
    log: int = 256


@dataclass(frozen=True)
class Build:
    """What a build came to.

    Attributes:
        ok: whether there is a module.
        log: what was printed.
        modules: the modules' files.
        reason: why there is none, one sentence.
        notes: what the student should know of how it was built.
    """

    ok: bool
    log: str
    modules: tuple[Path, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()


def build(
    sources: Path,
    image: Image,
    output: Path,
    *,
    place: str = "",
    how: How = "makefile",
    limits: BuildLimits | None = None,
) -> Build:
    """Build the modules of a submission for a guest image's kernel.

    Args:
        sources: the submission's files, which are not changed.
        image: whose kernel it is for; its compiler and headers are used.
        output: an empty directory of the caller's, for the modules.
        place: the directory in `sources` where it is built; empty for `sources` itself.
        how: with the submission's own Makefile, or ours over its C files; ours anyway where it has none.
        limits: by default those of `BuildLimits`.

    Raises:
        LabError: bubblewrap is missing or refused to start, which says nothing about the submission.
    """
    limits = limits or BuildLimits()
    with _readable(sources) as staged:
        run = _run(_command(BuildRoot.of_image(image), staged, limits, ["/kmodlab/build", how, place]), limits)
    log = run.log.replace("/build/", "")
    if run.killed:
        return Build(False, log, reason=f"the build was stopped: it took more than {run.killed}")
    if run.status:
        if log.startswith(namespaces.OURS):
            raise _does_not_start(run.status, log)
        return Build(False, log, reason=explain(log, image.kernel_version, sources / place))
    said, _, packed = run.output.partition(b"\n")
    modules = tuple(_unpack(packed, output))
    if not modules:
        return Build(False, log, reason="the build gave no module (.ko) that could be read")
    return Build(True, log, modules, notes=tuple(_how_built(said.decode(errors="replace"), log)))


def _how_built(said: str, log: str) -> Iterator[str]:
    """Yield what a student should know of a build that gave a module: their Makefile alone has not made it."""
    how, _, status = said.partition(" ")
    if how == "make" and status != "0":
        yield f"Your Makefile made the module, and then failed: {first_error(log)}. The module counts."
    if how == "alone":
        yield "Your Makefile's first target makes no module here. It was built with `make -C KERNEL M=$PWD modules`."
    if how == "none":
        yield "Your Makefile names no module (obj-m). The module was built without it."


def require(host: Host = HOST) -> None:
    """Try the sandbox once, with nothing in it: what refuses it refuses it for each submission.

    Args:
        host: whose it is.

    Raises:
        LabError: it does not start, or would not find its programs; the hint says what to change.
    """
    try:
        useless = without_programs(place := host.temporary())
    except FileNotFoundError as error:
        raise LabError(str(error.strerror or error), hint=TMPDIR_HINT) from error
    if useless:
        raise LabError(f"no program can be run in {place}: it is mounted noexec", hint=TMPDIR_HINT)
    argv = [*namespaces.BWRAP, *namespaces.isolated(host), "--ro-bind", "/", "/", "--proc", "/proc"]
    argv += ["--dev", "/dev", "--size", str(1 << 20), "--tmpfs", "/tmp", *namespaces.as_nobody(host), "/bin/true"]  # noqa: S108
    try:
        argv = namespaces.with_root_mounted(argv, host)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise _not_installed() from error
    if done.returncode:
        raise _does_not_start(done.returncode, done.stderr, host)


def _not_installed() -> LabError:
    return LabError("bwrap is not installed", hint="apt-get install bubblewrap")


def _does_not_start(status: int, log: str, host: Host = HOST) -> LabError:
    why, hint = namespaces.cause(host)
    words = "the sandbox in which submissions are built does not start"
    return LabError(f"{words}: {why}" if why else words, exit_code=status, output=log, hint=hint)


def source_line(image: Image, module: Path, symbol: str, offset: int) -> str:
    """Return the source line of an address in a module, `file.c:12`, or nothing where its symbols do not say.

    Args:
        image: for whose kernel the module was built.
        module: its file, which its author made: it is read in the sandbox, too.
        symbol: the function's name.
        offset: into the function, in bytes.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*", symbol):
        return ""
    find = 'addr=$(nm /src/m.ko | awk -v s="$1" \'$3 == s && $2 ~ /[tT]/ {print $1; exit}\') && [ -n "$addr" ] && '
    # Relocatable: the offset counts from the function's section.
    find += "for part in $(objdump -t /src/m.ko | awk -v s=\"$1\" '$NF == s {print $(NF-2); exit}'); do "
    find += 'addr2line -i -e /src/m.ko -j "$part" "$(printf %#x $((0x$addr + $2)))"; done'
    limits = BuildLimits(seconds=_LINE_SECONDS, log=4)
    with _readable(module) as staged:
        words = ["/bin/sh", "-c", find, "sh", symbol, str(offset)]
        run = _run(_command(BuildRoot.of_image(image), staged, limits, words), limits)
    # From the innermost inlined function out; what is inlined is more often the kernel's than the module's own.
    found = re.findall(r"([^/\s]+\.c:\d+)", run.output.decode(errors="replace"))
    return str(found[-1]) if found else ""


@contextlib.contextmanager
def _readable(source: Path) -> Iterator[Path]:
    """Yield a copy of a directory, or of a module's file as `m.ko`, that anyone may read: another user will.

    Beside it, in `tools`, are the programs of ours that run in the sandbox.
    """
    with tempfile.TemporaryDirectory(prefix="kmodlab-build-") as temporary:
        copy = Path(temporary) / "src"
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            copy.mkdir()
            shutil.copyfile(source, copy / "m.ko")
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        (tools := copy.with_name("tools")).mkdir()
        tools.chmod(0o755)
        for name in ("build", "sudo", "uname"):
            shutil.copyfile(_HERE / f"{name}.sh", tools / name)
            (tools / name).chmod(0o755)
        yield copy


def _command(root: BuildRoot, sources: Path, limits: BuildLimits, words: list[str]) -> list[str]:
    """Return the command that runs `words` in the sandbox."""
    argv = [*namespaces.BWRAP, *namespaces.isolated(), "--clearenv"]
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64"):
        path = root.directory / name
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.exists():
            argv += ["--ro-bind", str(path), f"/{name}"]
    argv += ["--ro-bind", str(root.directory / "etc"), "/etc", "--proc", "/proc", "--dev", "/dev"]
    argv += ["--ro-bind", str(sources), "/src"]
    for place in ("/build", "/tmp", "/dev/shm"):  # noqa: S108  # inside the sandbox
        argv += ["--perms", "1777", "--size", str(limits.disk << 20), "--tmpfs", place]
    argv += ["--ro-bind", str(sources.with_name("tools")), "/kmodlab"]
    for key, value in (("PATH", _PATH), ("LC_ALL", "C"), ("HOME", "/build"), ("KMODLAB_KERNEL", root.kernel)):
        argv += ["--setenv", key, value]
    argv += ["--chdir", "/build", *namespaces.as_nobody(), *_limited(limits), *words]
    return namespaces.with_root_mounted(argv)


def _limited(limits: BuildLimits) -> list[str]:
    seconds = max(1, round(limits.seconds))
    options = [f"--cpu={seconds}", f"--fsize={limits.disk << 20}", f"--as={limits.memory << 20}", "--core=0"]
    return ["/usr/bin/prlimit", *options, f"--nproc={limits.processes}"]


@dataclass(frozen=True)
class _Ended:
    """How a program in the sandbox ended: exit status, what was printed, which limit stopped it."""

    status: int
    output: bytes
    log: str
    killed: str


def _run(argv: list[str], limits: BuildLimits) -> _Ended:
    """Run bubblewrap to its end, or to the first limit that is not kept."""
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
        )
    except FileNotFoundError as error:
        raise _not_installed() from error
    try:
        output, log, killed = _collect(process, limits)
    finally:
        # The first process of its namespace: with it everything in there ends.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    text = log.decode(errors="replace")
    return _Ended(status, output, text, killed)


def _collect(process: subprocess.Popen[bytes], limits: BuildLimits) -> tuple[bytes, bytes, str]:
    bounds = (_MODULES, limits.log << 10)
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
    streams = {pipe: (bytearray(), bound) for pipe, bound in zip(pipes, bounds, strict=True)}
    killed = ""
    deadline = Deadline(limits.seconds)
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and not killed:
            for key, _ in selector.select(_WATCH_SECONDS):
                _take(selector, key.fileobj, *streams[key.fileobj])  # type: ignore[index]
            killed = f"{limits.seconds:g} s" if deadline.expired else _over_limit(process.pid, limits)
    output, log = (bytes(taken) for taken, _ in streams.values())
    return output, log, killed


def _take(selector: selectors.BaseSelector, stream: object, taken: bytearray, most: int) -> None:
    """Read what a stream has; keep no more than `most` bytes of it, and drain the rest."""
    data = os.read(stream.fileno(), 1 << 16)  # type: ignore[attr-defined]
    if not data:
        selector.unregister(stream)  # type: ignore[arg-type]
    elif len(taken) < most:
        taken += data[: most - len(taken)]
        if len(taken) >= most:
            taken += _TRUNCATED


def _over_limit(group: int, limits: BuildLimits) -> str:
    """Return which limit the programs of the sandbox exceed together, or nothing."""
    pages = count = 0
    for process in _descendants(group):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            count += 1
    if count > limits.processes + _OWN:
        return f"{limits.processes} processes"
    # Shared pages are counted for each: a bound, not an account. The compiler's own are few beside its heap.
    return f"{limits.memory} MiB of memory" if pages * os.sysconf("SC_PAGE_SIZE") > limits.memory << 20 else ""


def _descendants(root: int) -> Iterator[int]:
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        with contextlib.suppress(OSError):
            waiting += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())


def _unpack(packed: bytes, output: Path) -> Iterator[Path]:
    """Write the modules of a tar archive that the sandbox printed: plain files alone, under their last names."""
    with contextlib.suppress(tarfile.TarError, EOFError), tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if member.isreg() and _MODULE_NAME.fullmatch(name) else None
            if content and not (output / name).exists():
                (output / name).write_bytes(content.read())
                yield output / name
