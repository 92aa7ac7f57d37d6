"""Sanitizer kernels: what their configuration is asked for, and what becomes of a build; make is made up."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest
from mutants.mutant import Mutant
from sanitize import PATCHES, header

from kmodlab import paths
from kmodlab.errors import LabError, UsageError
from kmodlab.guest import Guest
from kmodlab.host import Host
from kmodlab.image.buildroot import buildroots_dir
from kmodlab.image.image import Image, images_dir
from kmodlab.image.release import RELEASES, SOURCE
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.netlink import GENERIC, HEADER
from kmodlab.sanitize import campaign, failing, fragments, fuzzing, kernels, page, room, soak, steps
from kmodlab.sanitize.outcome import Outcome, as_table
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
    assert image.tree
    with tarfile.open(image.tree) as archive:
        packed = {member.name: member for member in archive.getmembers()}
    assert packed["usr/lib/modules/6.1.176/build"].linkname == "/usr/src/sanitizer-kasan/build"
    assert "usr/src/sanitizer-kasan/build/include/config/kernel.release" in packed
    assert not [name for name in packed if name.endswith((".c", ".o"))]
    assert not list(root.directory.glob("usr/src/sanitizer-*")), "nothing of it is in the base's"
    ran = len(root.ran)
    assert kernels.build_on(base, KASAN, root, ROOM) == image
    assert len(root.ran) == ran


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


SCRIPTS = sorted(path.stem for path in (room.HERE / "steps").glob("*.sh") if path.stem != "common")


def test_each_script_is_a_step() -> None:
    assert set(SCRIPTS) == {step.name for step in steps.STEPS} - {"fail-use", "fail-load", "fuzz", "contract"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_what_it_does_and_counts(name: str) -> None:
    text = (room.HERE / "steps" / f"{name}.sh").read_text()
    assert re.match(r"# [A-Z]", text)
    assert re.search(r'^echo "\w+=\$.*"$', text.splitlines()[-1])


def test_scripts_are_as_the_linter_wants_them() -> None:
    done = subprocess.run(["shellcheck", *sorted((room.HERE / "steps").glob("*.sh"))], capture_output=True, check=False)
    assert done.stdout.decode() == ""


class FakeGuest:
    """A guest whose kernel says what it is told to.

    Args:
        said: what commands print, by a part of them.
    """

    name = "sanitizer-kasan"

    def __init__(self, **said: str) -> None:
        self.said = said
        self.gone = False
        self.log: list[str] = []
        self.ran: list[str] = []
        self.copied: list[str] = []

    def succeed(self, command: str, _seconds: float) -> str:
        """Stand in for `Guest.succeed`."""
        self.ran.append(command)
        if self.gone:
            raise LabError("ssh did not answer", output="a\nb\n")
        if command == "dmesg --read-clear":
            return self.log.pop(0) if self.log else ""
        return next((text for part, text in self.said.items() if part in command), "")

    def copy_to(self, _local: Path, remote: str) -> None:
        """Stand in for `Guest.copy_to`."""
        self.copied.append(remote)


def room_with(guest: FakeGuest) -> room.Room:
    """Return a room with this guest in it."""
    return room.Room(cast(Guest, guest), Path(), leak_age=0)


FREED = "[2.0] BUG: KASAN: slab-use-after-free in tl_show+0x1/0x2"


def good(one: room.Room) -> dict[str, int]:
    """Do something that the kernel complains of."""
    cast(FakeGuest, one.guest).log.append(f"[1.0] fine\n{FREED}\n")
    return {"rounds": 3}


def broken(_room: room.Room) -> dict[str, int]:
    """Break."""
    raise LabError("it broke")


def clean(one: room.Room) -> dict[str, int]:
    """Do something that is well."""
    cast(FakeGuest, one.guest).log.append("[3.0] task_lister: loaded\n")
    return {"rounds": 5}


def test_a_step_has_what_the_kernel_complained_of_in_it() -> None:
    """A step that breaks does not keep the next one from it; each has its own lines, and those alone."""
    taken = [steps.Step(act.__name__, "does something", act) for act in (good, broken, clean)]
    found = list(campaign.campaign(room_with(FakeGuest()), taken))
    assert [one.findings for one in found] == [(FREED,), ("it broke",), ()]
    assert [one.counts for one in found] == [{"rounds": 3}, {}, {"rounds": 5}]
    assert as_table(found).splitlines()[2:] == [
        "| good | 0 | rounds 3 | 1 |",
        "| broken | 0 |  | 1 |",
        "| clean | 0 | rounds 5 | none |",
    ]


def test_a_guest_that_answers_no_more_ends_the_campaign() -> None:
    """What it said last is told, and which steps were not taken."""
    guest = FakeGuest()

    def fatal(_room: room.Room) -> dict[str, int]:
        guest.gone = True
        raise LabError("it broke")

    taken = [steps.Step(act.__name__, "does something", act) for act in (good, fatal, clean, broken)]
    found = list(campaign.campaign(room_with(guest), taken))
    assert [one.step for one in found] == ["good", "fatal"]
    assert found[1].findings == ("it broke", "ssh did not answer\na\nb", "not taken: clean", "not taken: broken")


def test_what_a_kernel_says_of_itself_is_no_finding() -> None:
    step = steps.Step("good", "does something", good, expected=re.compile("tl_show"))
    assert [one.findings for one in campaign.campaign(room_with(FakeGuest()), [step])] == [()]


@pytest.mark.parametrize(("scan_once", "scans"), [(False, 2), (True, 1)])
def test_lost_memory_is_looked_for(scan_once: bool, scans: int) -> None:
    guest = FakeGuest(**{"cat /sys/kernel/debug/kmemleak 2>": "unreferenced object"})
    guest.said |= {"echo clear": "unreferenced object 0xff (size 64):\n    [<00000000a>] 0x1\n    [<ff>] tl_open+0x1\n"}
    taken = [steps.Step(name, "does something", lambda _: {}) for name in ("one", "two")]
    found = list(campaign.campaign(room_with(guest), taken, scan_once=scan_once))
    lost = ("unreferenced object 0xff (size 64):", "    [<ff>] tl_open+0x1")
    assert [one.findings for one in found] == [() if scan_once else lost, lost]
    assert sum("|| echo scan" in command for command in guest.ran) == scans


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"failed": 0, "whole": True}, "0 allocations were made to fail"),
        ({"failed": 600, "whole": False}, "600 allocations were made to fail, and then it was given up"),
    ],
)
def test_allocations_that_never_failed_are_no_proof(told: dict[str, object], why: str) -> None:
    with pytest.raises(LabError, match=why):
        failing.fail_each(room_with(FakeGuest(failnth=json.dumps(told))), "open", "/proc/task_lister")


def test_who_needs_no_memory_is_known() -> None:
    guest = FakeGuest(failnth=json.dumps({"failed": 0, "whole": True, "came_to": {"ok": 1}}))
    assert failing.fail_each(room_with(guest), "read", "/proc/task_lister") == {"failed": 0, "ok": 1}
    with pytest.raises(LabError, match="read /proc/task_tree : 0 allocations were made to fail"):
        failing.fail_each(room_with(guest), "read", "/proc/task_tree")


def failed(**came_to: int) -> str:
    """Return what tools/failnth.c prints."""
    return json.dumps({"failed": 7, "whole": True, "came_to": came_to})


def test_how_many_allocations_failed_is_counted() -> None:
    guest = FakeGuest(failnth=failed(ok=1, ENOMEM=7), grep="1\n")
    counts = failing.fail_using(room_with(guest))
    assert set(counts.values()) == {7}
    expected = [f"{operation} {name}" for name in failing.FILES for operation in ("open", "read")]
    expected += [f"write {text}" for texts in failing.WRITES.values() for text in texts]
    assert list(counts) == [*expected, *failing.REQUESTS]


@pytest.mark.parametrize(("ok", "there"), [(0, 1), (3, 0), (2, 2)])
def test_a_filter_that_nobody_was_told_of_is_found(ok: int, there: int) -> None:
    guest = FakeGuest(failnth=failed(ok=ok, ENOMEM=1), grep=f"{there}\n")
    with pytest.raises(LabError, match=f"a filter was added {ok} times, and {there} are there"):
        failing.fail_using(room_with(guest))


def test_a_request_is_as_the_family_has_it() -> None:
    spec = tracer_spec()
    for name, values in failing.REQUESTS.items():
        sent = failing.message(spec, name, values)
        length, kind, flags, _, _ = HEADER.unpack_from(sent)
        assert (length, kind, bool(flags & 0x300)) == (len(sent), 0, name in ("cpu-get", "call-get", "filter-get"))
        operation = spec.operation(GENERIC.unpack_from(sent, HEADER.size)[0])
        assert operation is not None
        assert operation.name == name
        decoded = spec.sets[operation.attributes].decode(sent[HEADER.size + GENERIC.size :])
        assert decoded == {
            key: [value] if key == "name" and name == "call-set" else value for key, value in values.items()
        }


def done(operations: int = 25_000, well: int = 9, **more: int) -> str:
    """Return what tools/fuzz.c prints."""
    return json.dumps({"operations": operations, "went well": well, "reloads": 1, "programs": 4, **more})


def test_operations_at_random_are_done_in_slices() -> None:
    guest = FakeGuest(**{"/root/fuzz": done(), "base64": "AAEC\n"})
    assert fuzzing.fuzz(room_with(guest), 75_000, 5) == {
        "operations": 75_000, "went well": 27, "reloads": 3, "programs": 4
    }  # fmt: skip
    seeds = [command.split()[1] for command in guest.ran if command.startswith("/root/fuzz")]
    assert seeds == ["5", "6", "7"]
    assert fuzzing.corpus().read_bytes() == b"\0\1\2"


def test_who_finds_something_at_random_says_how() -> None:
    guest = FakeGuest(**{"/root/fuzz": done()})
    guest.log = ["", f"{FREED}\n"]
    wanted = r"`/root/fuzz 2 25000 /root/corpus /root/syscall_tracer.ko /root/task_lister.ko`: .*KASAN: slab"
    with pytest.raises(LabError, match=wanted):
        fuzzing.fuzz(room_with(guest), 75_000)
    with pytest.raises(LabError, match="not one operation went well"):
        fuzzing.fuzz(room_with(FakeGuest(**{"/root/fuzz": done(well=0)})), 25_000)


def looks(name: str, *sizes: int) -> list[dict[str, int]]:
    """Return looks at memory: one of them has these sizes, the others stay."""
    return [{"syscall_tracer": 8, "task_lister": 4, "slab": 1000, name: size} for size in sizes]


def test_what_is_flat_is_flat() -> None:
    soak.require_flat(looks("slab", 500, 1000, 1400, 1099))
    soak.require_flat(looks("task_lister", 9, 4, 9, 4))


@pytest.mark.parametrize(("name", "sizes"), [("slab", (500, 1000, 1000, 1101)), ("task_lister", (4, 4, 4, 5))])
def test_what_grows_is_told(name: str, sizes: tuple[int, ...]) -> None:
    with pytest.raises(LabError, match=f"{name} had {sizes[1]} bytes, and has {sizes[-1]} in the end"):
        soak.require_flat(looks(name, *sizes))


def test_memory_is_told_by_who_asked_for_it() -> None:
    vmalloc = (
        "0xffffc90000000000-0xffffc90000005000   20480 sct_log_init+0x4e/0x1a0 [syscall_tracer] pages=4 vmalloc\n"
        "0xffffc90000005000-0xffffc90000008000   12288 load_module+0x1/0x2 pages=2 vmalloc\n"
        "0xffffc90000008000-0xffffc9000000a000    8192 sct_ring+0x4e/0x1a0 [syscall_tracer] pages=1 vmalloc\n"
    )
    guest = FakeGuest(vmallocinfo=vmalloc, meminfo="Slab:   9 kB\nSUnreclaim:     7 kB\n")
    assert soak.memory(room_with(guest)) == {"syscall_tracer": 28672, "task_lister": 0, "slab": 7168}


def test_steps_are_chosen() -> None:
    core = [step.name for step in steps.STEPS if step.core]
    assert [step.name for step in steps.chosen([], core=True)] == core
    assert [step.name for step in steps.chosen(["reload", "load"])] == ["load", "reload"]
    with pytest.raises(UsageError, match="there is no step 'lode'"):
        steps.chosen(["lode"])


def test_the_short_selection_does_less() -> None:
    guest = FakeGuest(**{"set -eu": "rounds=1\n"})
    for step in (*steps.chosen(["reload"], core=True), *steps.chosen(["reload"])):
        assert step.act(room_with(guest)) == {"rounds": 1}
    assert [re.findall(r"^ROUNDS=(\d+)", command) for command in guest.ran] == [["2"], ["200"]]


def test_the_page_has_what_is_known(base: Image, tmp_path: Path) -> None:
    """A run of some steps leaves those of others; one in another kernel of that name does not."""
    image = kernels.build_on(base, KASAN, Made(base), ROOM)
    page.record(image, [Outcome("load", 61.4, {"rounds": 5}), Outcome("storm", 2, {}, ("a", "b"))], tmp_path)
    page.record(image, [Outcome("storm", 3, {"passes": 6})], tmp_path)
    text = (tmp_path / "sanitizers.md").read_text()
    assert "| load | 61 | rounds 5 | none |\n| storm | 3 | passes 6 | none |\n" in text
    assert "Linux 6.1.176 of `debian-12-source`, for memory, locks, RCU, failing allocations." in text
    other = Image(image.directory.rename(image.directory.with_name("sanitizer-kasan-0")))
    page.record(other, [Outcome("load", 7, {})], tmp_path)
    assert list(json.loads((tmp_path / "sanitizers.json").read_text())["kasan"]["steps"]) == ["load"]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_each_broken_module_names_who_has_to_find_it(patch: Path, tmp_path: Path) -> None:
    kernel, step, finding = header(patch)
    assert kernel in kernels.RECIPES
    assert steps.chosen([step])
    assert re.compile(finding)
    assert Mutant.read(patch).sources(tmp_path).is_dir()
