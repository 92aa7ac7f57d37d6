"""Both modules compile without a warning for the oldest and the newest kernel, and the kernel's own linters are silent.

Each image brings the compiler of its own release: from gcc 10 on.
"""

from __future__ import annotations

import io
import re
import runpy
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from kmodlab.errors import LabError
from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.image import build_image
from kmodlab.image.plan import planned
from kmodlab.paths import cache_dir, project_dir

MODULES = ("syscall_tracer", "task_lister")
#: release -> what its kernel's version begins with, and its compiler's first number (testing: at least)
RELEASES = {
    "debian-11": ("5.10.", 10),
    "debian-12": ("6.1.", 12),
    "debian-13-backports": ("7.", 14),
    "debian-testing": ("7.", 15),
}
_COMPLAINT = re.compile(r"\b(?:warning|error)\b:?", re.IGNORECASE)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of kernel/, free of build outputs."""
    ignored = shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*.cmd", "*.symvers", "modules.order")
    return Path(shutil.copytree(project_dir() / "kernel", tmp_path / "kernel", ignore=ignored))


def _compiler(root: BuildRoot) -> int:
    binary = next(path for path in sorted(root.directory.glob("usr/bin/*-gcc-[0-9]*")) if path.name[-1].isdigit())
    return int(binary.name.rpartition("-")[2])


@pytest.mark.parametrize("release", RELEASES)
def test_modules_compile_without_a_warning(release: str, sources: Path) -> None:
    """`make W=1` prints no warning."""
    root = BuildRoot.of_image(build_image(planned(release)))
    kernel, compiler = RELEASES[release]
    assert root.kernel.startswith(kernel)
    assert _compiler(root) == compiler or (release == "debian-testing" and _compiler(root) > compiler)
    for module in MODULES:
        built = root.make(sources / module, "-j2", "W=1")
        log = (sources / module / "build.log").read_text()
        # Said of every module that is built without the kernel's own vmlinux, and of no concern to it.
        log = log.replace("Skipping BTF generation", "")
        assert not _COMPLAINT.search(log), log
        info = built.read_bytes()
        assert b"license=GPL" in info
        assert f"vermagic={root.kernel} ".encode() in info


@pytest.mark.parametrize("module", MODULES)
def test_a_module_compiles_in_the_tree_that_dkms_gets(module: str, tmp_path: Path) -> None:
    """One folder with all that the build needs, and the same words to dkms for both."""
    pack = runpy.run_path(str(project_dir() / "plugins/action/kernel_source.py"))["pack"]
    folders = [project_dir() / "kernel" / name for name in (module, "compat")]
    patterns = yaml.safe_load((project_dir() / "roles/kernel_module/defaults/main.yml").read_text())
    tree = tmp_path / module
    (tmp_path / "compat").mkdir()  # nothing beside it
    packed = pack(folders, patterns["kernel_module_source_patterns"], flat=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(tree)  # noqa: S202  # it is our own
    lister = (project_dir() / "kernel/task_lister/dkms.conf").read_text()
    assert (tree / "dkms.conf").read_text() == lister.replace("task_lister", module)
    built = BuildRoot.of_image(build_image(planned("auto"))).make(tree, "-j2", "modules")
    assert f"name={module}".encode() in built.read_bytes()


def test_what_is_built_again_compiles_what_has_changed(sources: Path) -> None:
    """In one workplace the second build compiles the unit that has changed, and that alone; the third one nothing."""
    root = BuildRoot.of_image(build_image(planned("auto")))
    module, compiled = sources / "task_lister", []
    with root.workplace() as work:
        for extra in ("", "\n", ""):
            with (module / "stats.c").open("a") as file:
                file.write(extra)
            root.make(module, work=work)
            log = (module / "build.log").read_text()
            compiled.append(set(re.findall(r"CC \[M\] .*?(\w+)\.o$", log, re.MULTILINE)) - {"mod"})
    assert compiled == [{"build"}, {"build"}, set()]
    assert not work.exists()


def test_a_warning_fails_the_build_check(sources: Path) -> None:
    """The check above sees a warning where there is one: an unused variable is enough."""
    root = BuildRoot.of_image(build_image(planned("auto")))
    main = sources / "task_lister" / "main.c"
    main.write_text(main.read_text() + "\nstatic int never_used;\n")
    root.make(sources / "task_lister", "W=1")
    assert _COMPLAINT.search((sources / "task_lister" / "build.log").read_text())


def test_a_build_that_fails_says_why(sources: Path) -> None:
    """A compiler's error ends in the error's output, with the log's path."""
    root = BuildRoot.of_image(build_image(planned("auto")))
    (sources / "task_lister" / "main.c").write_text("#error kaput\n")
    with pytest.raises(LabError, match=r"building task_lister for .* failed") as caught:
        root.make(sources / "task_lister")
    assert "#error kaput" in (caught.value.output or "")
    assert caught.value.log == sources / "task_lister" / "build.log"


def _sparse(root: BuildRoot, module: Path) -> str:
    binary = shutil.which("sparse")
    assert binary, "sparse is not installed: `make setup-test` installs it"
    # The image is of the host's own release, so the host's sparse runs in it.
    shutil.copy(binary, root.directory / "usr" / "bin" / "sparse")
    root.make(module, "C=2", "CHECK=sparse")
    return (module / "build.log").read_text()


def test_sparse_is_silent(sources: Path) -> None:
    """`make C=2` prints nothing but its own progress."""
    root = BuildRoot.of_image(build_image(planned("auto")))
    for module in MODULES:
        log = _sparse(root, sources / module)
        assert "CHECK " in log
        assert not re.search(r"\.[ch]:\d+", log), log


def test_sparse_complains_of_a_defect(sources: Path) -> None:
    """The check above sees what sparse says: a symbol that should be static."""
    root = BuildRoot.of_image(build_image(planned("auto")))
    main = sources / "task_lister" / "main.c"
    main.write_text(main.read_text() + "\nint should_be_static;\n")
    assert "should_be_static" in _sparse(root, sources / "task_lister")


def _checkpatch_script() -> Path:
    """Return checkpatch.pl out of Debian's linux-source, the one package that carries it; kept in the cache."""
    kept = cache_dir() / "checkpatch"
    if not (kept / "checkpatch.pl").exists():
        kept.mkdir(parents=True, exist_ok=True)
        unpack = r"""
            cd "$1"
            package=$(apt-cache depends linux-source | sed -n 's/^ *Depends: //p')
            apt-get download -q "$package"
            dpkg --fsys-tarfile "$package"_*.deb | tar -xO "./usr/src/$package.tar.xz" | xz -dc -T0 |
                tar -x --strip-components=2 --wildcards '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' \
                    '*/scripts/const_structs.checkpatch'
            rm -f "$package"_*.deb"""
        subprocess.run(["bash", "-euo", "pipefail", "-c", unpack, "unpack", str(kept)], check=True)
    return kept / "checkpatch.pl"


def _checkpatch(*files: Path, ignore: str = "") -> str:
    options = ["--no-tree", "--strict", "--quiet", "--terse", "--no-summary", "--color=never"]
    options += ["--ignore", ignore] if ignore else []
    command = ["perl", str(_checkpatch_script()), *options, "-f", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_checkpatch_is_silent() -> None:
    """`checkpatch.pl --strict` has nothing to say about any source file."""
    folders = [project_dir() / "kernel", project_dir() / "tests" / "bench" / "guest" / "floor"]
    found = [path for folder in folders for path in folder.rglob("*")]
    files = sorted(path for path in found if re.search(r"\.[ch]$|Kbuild$", path.name))
    files = [path for path in files if not path.name.endswith(".mod.c")]
    assert len(files) > 10
    compat = [path for path in files if path.parent.name == "compat"]
    assert _checkpatch(*(path for path in files if path not in compat)) == ""
    # compat/ is the one place that asks for the kernel's version, which checkpatch would have nobody do.
    assert _checkpatch(*compat, ignore="LINUX_VERSION_CODE,CONSTANT_COMPARISON") == ""


def test_checkpatch_complains_of_a_defect(tmp_path: Path) -> None:
    """The check above sees what checkpatch says: a missing blank after `if`."""
    bad = tmp_path / "bad.c"
    bad.write_text("// SPDX-License-Identifier: GPL-2.0-only\nvoid f(int a)\n{\n\tif(a)\n\t\treturn;\n}\n")
    assert "space required before the open parenthesis" in _checkpatch(bad)
