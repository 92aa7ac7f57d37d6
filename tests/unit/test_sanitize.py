"""Sanitizer kernels: what their configuration is asked for, and what becomes of a build; make is made up."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from kmodlab import paths
from kmodlab.errors import LabError, UsageError
from kmodlab.guest import Guest
from kmodlab.host import Host
from kmodlab.image.buildroot import BuildRoot, buildroots_dir, prune
from kmodlab.image.image import Image, images_dir
from kmodlab.image.release import RELEASES, SOURCE
from kmodlab.sanitize import campaign, fragments, kernels
from kmodlab.vm.hardware import Hardware

from .conftest import make_image

FRAGMENTS = sorted(path.stem for path in fragments.FOLDER.glob("*.config"))


def test_options_are_read() -> None:
    text = 'CONFIG_A=y\n# a comment\n# CONFIG_B is not set\nCONFIG_C="a b"\n#CONFIG_D=y\nCONFIG_E=4096\n'
    assert fragments.options(text) == {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"a b"', "CONFIG_E": "4096"}


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n", []),
        ("CONFIG_A=y\nCONFIG_B=y\n", []),
        ("CONFIG_A=m\nCONFIG_B=y\n", ["CONFIG_A=y"]),
        ("# CONFIG_A is not set\nCONFIG_C=y\n", ["CONFIG_A=y", "CONFIG_B=y", "CONFIG_C=n"]),
    ],
)
def test_what_make_did_not_take_is_told(config: str, refused: list[str]) -> None:
    asked = {"CONFIG_A": "y", "CONFIG_B": "y", "CONFIG_C": "n"}
    assert list(fragments.refused(asked, config)) == refused


@pytest.mark.parametrize("name", FRAGMENTS)
def test_each_block_of_a_fragment_says_what_it_is_for(name: str) -> None:
    """No option comes twice in a fragment, and each block of them begins with a comment."""
    text = (fragments.FOLDER / f"{name}.config").read_text()
    found = re.findall(r"^CONFIG_\w+|^# CONFIG_\w+", text, re.MULTILINE)
    assert len(found) == len(set(found)) > 0
    for block in text.strip().split("\n\n"):
        assert re.match(r"# (?!CONFIG_)\S", block), block


def test_recipes_are_of_what_there_is() -> None:
    named = {fragment for recipe in kernels.RECIPES.values() for fragment in recipe.fragments}
    assert named == set(FRAGMENTS)
    for recipe in kernels.RECIPES.values():
        assert RELEASES[recipe.release].extras == SOURCE
        assert recipe.fragments[0] == "base"
    with pytest.raises(UsageError, match="no sanitizer kernel 'kasam'") as caught:
        kernels.find_recipe("kasam")
    assert caught.value.hint == "known: kasan kasan-new kcsan rt"


class Made:
    """A build root in which programs are made up: `tar` unpacks nothing, and `make` does what is asked of it.

    Args:
        base: the image that it is of.
        dropped: what olddefconfig drops.
        broken: the target that fails.
    """

    def __init__(self, base: Image, dropped: Sequence[str] = (), broken: str = "") -> None:
        self.ran: list[Sequence[str]] = []
        self.directory = buildroots_dir() / base.id
        self._dropped, self._broken = dropped, broken
        self._usr = self.directory / "usr/src"
        self._usr.mkdir(parents=True)
        (self.directory / "build").mkdir()
        (self._usr / "linux-source-6.1.tar.xz").touch()

    def run(self, argv: Sequence[str], log: Path, watch: Callable[[], None] | None = None) -> int:
        """Stand in for `BuildRoot.run`."""
        self.ran.append(argv)
        with log.open("a") as sink:
            print(f"  CC      {argv[-1]}", file=sink)
        if watch:
            watch()
        if argv[0] == "make":
            self._make(next(self._usr.glob("sanitizer-*")), argv[-1])
        return 2 if argv[-1] == self._broken else 0

    def _make(self, tree: Path, target: str) -> None:
        config = tree / "build/.config"
        if target == "tinyconfig":
            config.write_text("CONFIG_SLOB=y\nCONFIG_KERNEL_XZ=y\n# CONFIG_KASAN is not set\n")
        elif target == "olddefconfig":
            kept = [line for line in config.read_text().splitlines() if line not in self._dropped]
            config.write_text("\n".join([*kept, ""]))
        elif target == "modules":
            made = ("include/config/kernel.release", "arch/x86/boot/bzImage", "fs/open.o")
            for name in ("fs/open.c", *(f"build/{each}" for each in made)):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text("6.1.176\n")


KASAN = kernels.RECIPES["kasan"]
ROOM = Host(space=lambda _: 1 << 40)


@pytest.fixture
def base() -> Image:
    """An image that has a kernel's source."""
    image = make_image(images_dir() / "debian-12-source-0123", "debian-12-source")
    (image.directory / "packages").write_text("linux-source-6.1\t6.1.176-1\n")
    return image


def test_a_kernel_is_built_once(base: Image) -> None:
    """It is an image, of the base's disk; modules are built for it where it was; a second time it is there."""
    root = Made(base)
    image = kernels.build_on(base, KASAN, root, ROOM)
    assert [argv[-1] for argv in root.ran] == ["--strip-components=1", "tinyconfig", "olddefconfig", "modules"]
    assert (image.kernel_version, image.release.name) == ("6.1.176", "sanitizer-kasan")
    assert image.disk.samefile(base.disk)
    asked = fragments.asked_for(KASAN.fragments)
    made = fragments.options((image.directory / "config").read_text())
    assert made == {**asked, "CONFIG_SLOB": "y", "CONFIG_KERNEL_XZ": "y"}
    line = Hardware(1024, 2, "tcg").arguments(image)
    assert "-initrd" not in line
    assert " init=/usr/local/lib/kmodlab/plain-init " in line[-1]
    modules = BuildRoot.of_image(image)
    assert (modules.directory / "lib/modules/6.1.176/build").readlink() == Path("/usr/src/sanitizer-kasan/build")
    assert not list(modules.directory.glob("usr/src/sanitizer-kasan/**/*.[co]"))
    ran = len(root.ran)
    assert kernels.build_on(base, KASAN, root, ROOM) == image
    assert len(root.ran) == ran
    assert prune({base.id}) == [buildroots_dir() / image.id]
    assert root.directory.exists()


def test_a_kernel_without_what_was_asked_for_is_refused(base: Image) -> None:
    root = Made(base, dropped=("CONFIG_KASAN=y", "CONFIG_PROVE_RCU=y"))
    with pytest.raises(LabError) as caught:
        kernels.build_on(base, KASAN, root, ROOM)
    wanted = "the kernel kasan would not have what is asked for: CONFIG_PROVE_RCU=y CONFIG_KASAN=y"
    assert caught.value.message == wanted
    assert not list(root.directory.glob("usr/src/sanitizer-*"))
    assert kernels.find_kernel(KASAN, base) is None


@pytest.mark.parametrize("broken", ["tinyconfig", "modules"])
def test_a_build_that_breaks_leaves_nothing_but_its_log(broken: str, base: Image) -> None:
    root = Made(base, broken=broken)
    with pytest.raises(LabError, match="building the sanitizer kernel kasan failed: make exited with 2") as caught:
        kernels.build_on(base, KASAN, root, ROOM)
    assert caught.value.log == paths.cache_dir() / "log/sanitizer-kasan.log"
    assert f"  CC      {broken}" in (caught.value.output or "")
    assert not list(root.directory.glob("usr/src/sanitizer-*"))


def test_without_room_nothing_is_begun(base: Image) -> None:
    root = Made(base)
    with pytest.raises(LabError, match=r"100 MiB free on the disk of .*, and building a kernel needs 6144"):
        kernels.build_on(base, KASAN, root, Host(space=lambda _: 100 << 20))
    assert root.ran == []


def test_the_first_process_is_in_every_image() -> None:
    init = Path(kernels.__file__).parents[1] / "image/rootfs/usr/local/lib/kmodlab/plain-init"
    assert init.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("step", [step for step in campaign.STEPS if step.name not in ("fail", "contract")])
def test_each_step_has_a_script_that_counts(step: campaign.Step) -> None:
    text = (campaign.HERE / "steps" / f"{step.name}.sh").read_text()
    assert re.match(r"# [A-Z]", text)
    assert re.search(r'^echo "\w+=\$.*"$', text.splitlines()[-1])


class FakeGuest:
    """A guest whose kernel says what it is told to.

    Args:
        said: what commands print, by a part of them.
    """

    name = "sanitizer-kasan"

    def __init__(self, **said: str) -> None:
        self.said = {"failnth": "", **said}
        self.ran: list[str] = []

    def succeed(self, command: str, _seconds: float) -> str:
        """Stand in for `Guest.succeed`."""
        self.ran.append(command)
        if command == "dmesg --read-clear":
            return self.said.pop("dmesg", "")
        return self.said["failnth"] if "/root/failnth" in command else ""


def room_with(guest: FakeGuest) -> campaign.Room:
    """Return a room with this guest in it."""
    return campaign.Room(cast(Guest, guest))


def test_a_step_has_what_the_kernel_complained_of_in_it() -> None:
    """A step that breaks does not keep the next one from it; each has its own lines, and those alone."""
    guest = FakeGuest()

    def good(_room: campaign.Room) -> dict[str, int]:
        guest.said["dmesg"] = "[1.0] fine\n[2.0] BUG: KASAN: slab-use-after-free in tl_show+0x1/0x2\n"
        return {"rounds": 3}

    def broken(_room: campaign.Room) -> dict[str, int]:
        raise LabError("it broke")

    def clean(_room: campaign.Room) -> dict[str, int]:
        guest.said["dmesg"] = "[3.0] task_lister: loaded\n"
        return {"rounds": 5}

    steps = [campaign.Step(act.__name__, "does something", act) for act in (good, broken, clean)]
    found = list(campaign.campaign(room_with(guest), steps))
    assert [one.findings for one in found] == [
        ("[2.0] BUG: KASAN: slab-use-after-free in tl_show+0x1/0x2",),
        ("it broke",),
        (),
    ]
    assert [one.counts for one in found] == [{"rounds": 3}, {}, {"rounds": 5}]
    rows = campaign.as_table(found).splitlines()
    assert rows[2:] == [
        "| good | 0 | rounds 3 | 1 |",
        "| broken | 0 |  | 1 |",
        "| clean | 0 | rounds 5 | none |",
    ]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"failed": 0, "whole": True}, "0 allocations were made to fail"),
        ({"failed": 600, "whole": False}, "600 allocations were made to fail, and then it was given up"),
    ],
)
def test_allocations_that_never_failed_are_no_proof(told: dict[str, object], why: str) -> None:
    room = room_with(FakeGuest(failnth=json.dumps(told)))
    with pytest.raises(LabError, match=why):
        campaign.fail_each(room, "open", "/proc/task_lister")


def test_how_many_allocations_failed_is_counted() -> None:
    room = room_with(FakeGuest(failnth='{"failed": 7, "whole": true, "came_to": {"ok": 1, "ENOMEM": 7}}'))
    assert campaign.fail_each(room, "open", "/proc/task_lister") == {"open task_lister": 7}


def test_steps_are_chosen() -> None:
    core = [step.name for step in campaign.STEPS if step.core]
    assert [step.name for step in campaign.chosen([], core=True)] == core
    assert [step.name for step in campaign.chosen(["reload", "load"])] == ["load", "reload"]
    with pytest.raises(UsageError, match="there is no step 'lode'"):
        campaign.chosen(["lode"])
