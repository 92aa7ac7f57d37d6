"""What students' Makefiles do besides, wrongly, or for another machine: the module counts, and the rest is said.

Built in the sandbox with the host's own release; no machine is started.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.grading.sandbox import Build, build
from kmodlab.image.image import Image, build_image
from kmodlab.image.plan import planned

MODULE = """#include <linux/module.h>
static int __init begin(void)
{
	return 0;
}
module_init(begin);
MODULE_LICENSE("GPL");
"""
KBUILD = "make -C /lib/modules/$(shell uname -r)/build M=$(PWD) modules"
ALONE = ("Your Makefile's first target makes no module here. It was built with `make -C KERNEL M=$PWD modules`.",)
DECLARED = "int other(void);\nstatic"
BROKEN = MODULE.replace("return 0;", "return nothing;")


@pytest.fixture(scope="module")
def image() -> Image:
    """Of the host's own release."""
    return build_image(planned("auto"))


def built(image: Image, folder: Path, makefile: str, **files: str) -> Build:
    """Build a folder of files, `jiffies_c` being `jiffies.c`, with a Makefile."""
    (sources := folder / "sources").mkdir()
    (output := folder / "output").mkdir()
    for name, content in {"jiffies_c": MODULE, **files}.items():
        (sources / name.replace("_", ".")).write_text(content)
    (sources / "Makefile").write_text(makefile)
    return build(sources, image, output)


#: how a Makefile names the kernel, and what it builds first; what the student is told
MAKEFILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "without a last line end": (f"obj-m += jiffies.o\nall:\n\t{KBUILD}", ()),
    "obj-m alone": ("obj-m := jiffies.o\n", ALONE),
    "help first": (f"help:\n\t@echo make build\nbuild:\n\t{KBUILD}\nobj-m += jiffies.o\n", ALONE),
    "help first, then modules": (f"help:\n\t@echo make modules\nmodules:\n\t{KBUILD}\nobj-m += jiffies.o\n", ()),
    "clean first": (f"clean:\n\trm -f *.o\nall:\n\t{KBUILD}\nobj-m += jiffies.o\n", ALONE),
    "KDIR of another machine": (
        "KDIR := /usr/src/linux-headers-5.4.0-42-generic\nobj-m += jiffies.o\nall:\n\tmake -C $(KDIR) M=$(PWD)\n",
        (),
    ),
    "another name for KDIR": (
        "SRC := /usr/src/linux-headers-5.4.0-42-generic\nobj-m += jiffies.o\nall:\n\tmake -C $(SRC) M=$(PWD)\n",
        ALONE,
    ),
    "kernel of another machine": (
        "obj-m += jiffies.o\nall:\n\tmake -C /lib/modules/5.15.0-91-generic/build M=$(PWD) modules\n",
        ALONE,
    ),
    "folder of another machine": (f"obj-m += jiffies.o\nall:\n\t{KBUILD.replace('$(PWD)', '/home/ada/lab1')}\n", ALONE),
    "sudo": (f"obj-m += jiffies.o\nall:\n\tsudo {KBUILD}\n", ALONE),
}


@pytest.mark.parametrize("name", MAKEFILES)
def test_a_module_is_built_whatever_its_makefile_is_for(image: Image, tmp_path: Path, name: str) -> None:
    makefile, notes = MAKEFILES[name]
    done = built(image, tmp_path, makefile)
    assert done.ok, done.log
    assert [module.name for module in done.modules] == ["jiffies.ko"]
    assert done.notes == notes


def test_what_a_makefile_leaves_running_ends_with_it(image: Image, tmp_path: Path) -> None:
    """Else it would take away what is built next: nothing of that is there yet while the Makefile is at it."""
    thief = "(exec >/dev/null 2>&1; while sleep 0.01; do rm -f {0}.o {0}.ko; done) & sleep 0.3"
    for name, end in (("jiffies", "false"), ("other", "true")):
        (folder := tmp_path / name).mkdir()
        makefile = f"obj-m += other.o\nall:\n\t{thief.format(name)}; {end}\n"
        done = built(image, folder, makefile, other_c=MODULE)
        assert done.ok, done.log
        assert [module.name for module in done.modules] == ["other.ko"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("g++ reader.cpp -o reader", "g++: No such file or directory"),
        ("sudo insmod jiffies.ko", "sudo: nobody is root here, and need not be: the grader loads the module"),
        ("cp jiffies.ko /lib/modules", "cp: cannot create regular file '/lib/modules/jiffies.ko'"),
        ("gcc reader.c -o reader", "reader.c:1: expected"),
    ],
)
def test_what_fails_after_the_module_costs_nothing(image: Image, tmp_path: Path, line: str, why: str) -> None:
    makefile = f"obj-m += jiffies.o\nall:\n\t{KBUILD}\n\t{line}\n"
    done = built(image, tmp_path, makefile, reader_c="int main(void) { return 0\n", reader_cpp="int main() {}\n")
    assert done.ok, done.log
    assert [module.name for module in done.modules] == ["jiffies.ko"]
    assert len(done.notes) == 1
    assert done.notes[0].startswith(f"Your Makefile made the module, and then failed: {why}")
    assert done.notes[0].endswith(". The module counts.")


def test_a_makefile_that_names_no_module(image: Image, tmp_path: Path) -> None:
    """A program of the user's beside it is none."""
    makefile = "all:\n\tgcc reader.c -o reader\n"
    done = built(image, tmp_path, makefile, reader_c="int main(void) { return 0; }\n")
    assert done.ok, done.log
    assert [module.name for module in done.modules] == ["jiffies.ko"]
    assert done.notes == ("Your Makefile names no module (obj-m). The module was built without it.",)


def test_each_module_of_a_chapter_is_built(image: Image, tmp_path: Path) -> None:
    done = built(image, tmp_path, f"obj-m += simple.o\nobj-m += jiffies.o\nall:\n\t{KBUILD}\n", simple_c=MODULE)
    assert sorted(module.name for module in done.modules) == ["jiffies.ko", "simple.ko"]
    assert done.notes == ()


@pytest.mark.parametrize("first", ["help:\n\t@echo make build\n", "", "all: sub\nsub:\n\tg++ reader.cpp\n"])
def test_a_module_that_does_not_compile_is_told_by_its_own_error(image: Image, tmp_path: Path, first: str) -> None:
    """Whatever the first target says or does."""
    done = built(image, tmp_path, f"obj-m += jiffies.o\n{first}", jiffies_c=BROKEN)
    assert not done.ok
    assert "jiffies.c:4: 'nothing' undeclared (first use in this function)" in done.reason


def test_a_module_without_its_source_is_told_by_the_line(image: Image, tmp_path: Path) -> None:
    done = built(image, tmp_path, f"obj-m += listing_jiffies.o\nall:\n\t{KBUILD}\n")
    assert not done.ok
    assert done.reason == (
        "Makefile:1 asks for listing_jiffies.o, and there is no listing_jiffies.c, only jiffies.c: "
        "obj-m += listing_jiffies.o"
    )


def test_a_kbuild_alone_says_of_what_files_the_module_is(image: Image, tmp_path: Path) -> None:
    """Each of them starting a module of its own would not do: they need each other."""
    (sources := tmp_path / "sources").mkdir()
    (tmp_path / "output").mkdir()
    (sources / "Kbuild").write_text("obj-m += jiffies.o\njiffies-y := src/main.o other.o\n")
    (sources / "src").mkdir()
    (sources / "src" / "main.c").write_text(MODULE.replace("return 0;", "return other();").replace("static", DECLARED))
    (sources / "other.c").write_text("int other(void);\nint other(void)\n{\n\treturn 0;\n}\n")
    done = build(sources, image, tmp_path / "output")
    assert done.ok, done.log
    assert ([module.name for module in done.modules], done.notes) == (["jiffies.ko"], ())


def test_who_has_c_files_further_down_alone_is_told_what_is_missing(image: Image, tmp_path: Path) -> None:
    (tmp_path / "sources" / "src").mkdir(parents=True)
    (tmp_path / "output").mkdir()
    (tmp_path / "sources" / "src" / "main.c").write_text(MODULE)
    done = build(tmp_path / "sources", image, tmp_path / "output")
    assert not done.ok
    assert "no C file beside a Makefile or Kbuild, which would say how ./src/main.c is built" in done.reason
