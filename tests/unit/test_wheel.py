"""The wheel: it has all that the program needs, which then works where there is no checkout.

It is built from a copy in which somebody has worked, and lies in an environment of its own, which has the dependencies
of the one that runs the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab import __version__
from kmodlab.grading.lab import Lab, labs_dir
from kmodlab.grading.self_check import deviations, mutants
from kmodlab.guest import box
from kmodlab.image import overlay
from kmodlab.image.places import HERE
from kmodlab.matrix import known_kernels
from kmodlab.paths import project_dir

from .test_lint import TRACKED

ROOT = project_dir()
LABS = sorted(file.parent.name for file in labs_dir().glob("*/lab.yml"))
#: what lies beside the package in a checkout, and in it in a wheel
BESIDE = re.compile(
    r"(inventory|kernel|labs|playbooks|plugins|roles)/|docs/[a-z-]+\.md$|tests/mutants/[^/]+\.patch$"
    r"|(ansible\.cfg|deploy\.yml|pyproject\.toml)$"
)
LITTER = ("kernel/task_lister/list.o", "labs/proc_pid/solution/proc_pid.ko", "src/kmodlab/vm/__pycache__/x.pyc")
ANSIBLE = ("inventory", "playbook")
"""Its programs that the lab starts: ansible-inventory and so on."""


def _carried() -> dict[str, Path]:
    """Return the files that a wheel has, by their names in it."""
    found = {}
    for path in TRACKED:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("src/kmodlab/"):
            found[name.removeprefix("src/")] = path
        elif BESIDE.match(name):
            found[f"kmodlab/project/{name}"] = path
    return found


CARRIED = _carried()


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, and a folder in which somebody works.

    Attributes:
        environment: as `python -m venv` makes it.
        folder: where programs are started; nothing of a checkout is above it.
    """

    environment: Path
    folder: Path

    @property
    def package(self) -> Path:
        """The folder of the package."""
        return next(self.environment.glob("lib/python3*/site-packages/kmodlab"))

    @property
    def project(self) -> Path:
        """The folder of what the project brings."""
        return self.package / "project"

    def command(self, program: str, *words: str | Path) -> list[str]:
        """Return the command of one of the environment's programs."""
        return [str(self.environment / "bin" / program), *map(str, words)]

    def variables(self, **more: str) -> dict[str, str]:
        """Return an environment that knows nothing of the one in which the tests run."""
        places = {name: str(self.folder / name) for name in ("HOME", "KMODLAB_CACHE_DIR", "KMODLAB_STATE_DIR")}
        width = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **places, **width, **more}

    def run(self, program: str, *words: str | Path, status: int = 0, **more: str) -> str:
        """Run one of the environment's programs, which must end with a status; return what it printed."""
        done = subprocess.run(
            self.command(program, *words),
            cwd=self.folder,
            env=self.variables(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + (done.stderr if status else "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout in which somebody has worked."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for path in [*TRACKED, ROOT / ".gitignore"]:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target, follow_symlinks=False)
    for name in LITTER:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    _pip("wheel", "--no-build-isolation", "--wheel-dir", out, copy)
    return out / f"kmodlab-{__version__}-py3-none-any.whl"


def _pip(*words: str | Path) -> None:
    """Run pip, which asks no index and takes no dependencies."""
    verb, *others = map(str, words)
    argv = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    if verb == "install":
        argv += ["--python", others.pop(0)]
    argv += [verb, "--quiet", "--no-deps", "--no-index", *others]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    _pip("install", python, wheel)
    one = Installed(environment, tmp_path_factory.mktemp("elsewhere"))
    # A line of such a file is a folder, whose own such files, with the way to the checkout, count for nothing.
    dependencies = sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
    (one.package.parent / "dependencies.pth").write_text("".join(f"{folder}\n" for folder in dependencies))
    for name in ANSIBLE:
        script = environment / "bin" / f"ansible-{name}"
        script.write_text(f"#!{python}\nfrom ansible.cli.{name} import main\nmain()\n")
        script.chmod(0o755)
    return one


def test_the_wheel_has_what_git_keeps_of_the_package_and_of_the_project_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert len(CARRIED) > 900
    assert sorted(names) == sorted(CARRIED)


def test_each_file_arrives_as_it_is_and_programs_can_be_run(installed: Installed) -> None:
    """Links as what they point to: a wheel has none."""
    arrived = {name: installed.package.parent / name for name in CARRIED}
    assert [name for name, path in CARRIED.items() if arrived[name].read_bytes() != path.read_bytes()] == []
    assert [name for name in CARRIED if _runs(arrived[name]) != _runs(CARRIED[name])] == []


def _runs(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def test_images_and_boxes_are_those_of_a_checkout(installed: Installed) -> None:
    """To the byte: so the images that a checkout has made are the installed program's, too."""
    for here, there in ((HERE.recipe / "rootfs", "image/rootfs"), (box.RECIPE.folder / "boxfs", "guest/boxfs")):
        assert overlay.packed(installed.package / there) == overlay.packed(here)
    assert not (installed.package / "image/rootfs/etc/systemd/system/multi-user.target.wants").is_symlink()


def test_it_is_the_wheel_that_is_tried_here(installed: Installed) -> None:
    source = "import kmodlab; from kmodlab import paths; print(kmodlab.__file__, paths.project_dir())"
    shown = installed.run("python", "-c", source).split()
    assert shown == [str(installed.package / "__init__.py"), str(installed.project)]


def test_the_doctor_finds_what_the_wheel_brought(installed: Installed) -> None:
    argv = installed.command("kmodlab", "doctor", "--json")
    done = subprocess.run(argv, cwd=installed.folder, env=installed.variables(), capture_output=True, check=False)
    # What else this host lacks is not the wheel's.
    assert done.returncode in (0, 3), done.stderr
    found = {one["subject"]: one for one in json.loads(done.stdout)}
    assert (found["Python"]["good"], found["Python"]["fix"].split()[0]) == (True, "3.11.2")
    assert found["ansible-playbook"]["detail"] == str(installed.environment / "bin/ansible-playbook")
    assert found["ansible.cfg"]["detail"] == str(installed.project / "ansible.cfg")
    assert "compiler" not in found, "the tests, which it is for, are in a checkout"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--version",), f"kmodlab {__version__}"),
        (("guest", "list"), "name  state  image"),
        (("guest", "--help"), "Guests: real virtual machines under QEMU."),
        (("guest", "down", "nobody"), "there is no guest nobody"),
        (("image", "list"), "image  kernel"),
        (("lab", "--help"), "The lab: one guest with both modules"),
        (("trace", "--help"), "The system calls of programs, recorded by the kernel module"),
        (("tasks", "--help"), "The tasks of this machine"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_commands_work(installed: Installed, words: tuple[str, ...], shown: str) -> None:
    assert shown in installed.run("kmodlab", *words)


def test_a_class_is_graded_by_the_labs_that_came_along(installed: Installed) -> None:
    """As far as it goes without a machine: lab, tests and submissions are read."""
    (installed.folder / "class/Ada").mkdir(parents=True)
    (installed.folder / "class/Ada/Makefile").write_text("obj-m := ada.o\n")
    said = installed.run("kmodlab", "grade", "nonsense", "class", status=2)
    assert f"hint: the project's own are: {', '.join(LABS)}\n" in said
    for lab in ("proc_pid", "task_lister"):
        assert "Ada" in installed.run("kmodlab", "grade", "--dry-run", lab, "class")


_PROVED = """
import json, sys, tempfile
from pathlib import Path
from kmodlab.grading.lab import Lab
from kmodlab.grading.self_check import own_submissions
found = {}
for name in sys.argv[1:]:
    with tempfile.TemporaryDirectory() as work:
        lab = Lab.load(name)
        found[name] = [lab.digest, len(list(own_submissions(lab, Path(work))))]
print(json.dumps(found))
"""


def test_the_labs_are_proved_by_what_came_along(installed: Installed) -> None:
    """Tests, solutions and mutants; those of the modules are kernel/ and tests/mutants/ in a checkout."""
    found = json.loads(installed.run("python", "-c", _PROVED, *LABS))
    assert found == {name: [lab.digest, _proofs(lab)] for name in LABS for lab in [Lab.load(name)]}


def _proofs(lab: Lab) -> int:
    return 1 + (lab.folder / "starter").is_dir() + len(mutants(lab)) + len(deviations(lab))


def test_a_new_lab_is_made_and_refused_where_it_makes_no_sense(installed: Installed) -> None:
    assert "kmodlab lab check mine" in installed.run("kmodlab", "lab", "new", "mine")
    with (installed.folder / "mine/lab.yml").open("a") as file:
        file.write("\nnonsense: 1\n")
    said = installed.run("kmodlab", "lab", "check", "mine", status=2)
    assert (page := re.search(r"hint: (\S+/docs/grading\.md) says", said)), said
    assert Path(page[1]).is_relative_to(installed.project)
    assert Path(page[1]).is_file()


@pytest.mark.parametrize("words", [("--pyargs", "kmodlab.contract"), ("PROJECT/labs/proc_pid/tests",)], ids=" ".join)
def test_pytest_finds_the_tests(installed: Installed, words: tuple[str, ...]) -> None:
    """With the settings that the grader gives it."""
    names = [word.replace("PROJECT", str(installed.project)) for word in words]
    quiet = ["-q", "--collect-only", "-p", "no:cacheprovider", "-c", str(installed.project / "pyproject.toml")]
    shown = installed.run("python", "-m", "pytest", *quiet, *names)
    assert re.search(r"\n[0-9]+ tests collected", shown), shown


def test_the_inventory_is_read(installed: Installed) -> None:
    shown = installed.run("python", "-c", "from kmodlab.matrix import known_kernels; print(*known_kernels())")
    assert shown.split() == known_kernels()


def test_pages_of_a_checkout_are_not_written(installed: Installed) -> None:
    said = installed.run("kmodlab", "matrix", "--write", "nobody", status=2)
    assert "--write is for a checkout, whose docs/ it writes" in said


_PLAY = """
- name: Try what packs the sources
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Client
      ansible.builtin.import_role: {name: syscall_tracer, tasks_from: client}

    - name: Daemon
      ansible.builtin.import_role: {name: lab_dashboard, tasks_from: install}
"""

_PACKING = ("syscall_tracer : Install or remove the client", "lab_dashboard : Install the program")


def test_the_roles_find_the_package_and_the_specification(installed: Installed) -> None:
    """A check, which reads and packs all and changes nothing."""
    play = installed.folder / "play.yml"
    play.write_text(_PLAY)
    config = str(installed.project / "ansible.cfg")
    extra = {
        "ansible_python_interpreter": str(installed.environment / "bin/python"),
        # Whatever host this is, what comes after the packing is not tried.
        "__lab_dashboard_installed": {"reason": "it is only packed"},
    }
    words = ("--check", "-i", "localhost,", "-e", json.dumps(extra), play)
    shown = installed.run("ansible-playbook", *words, ANSIBLE_CONFIG=config)
    assert re.search(r"localhost +: ok=[0-9]+ .* unreachable=0 +failed=0 ", shown), shown
    assert {f"TASK [{task}] " for task in _PACKING} <= {line.rstrip("*") for line in shown.splitlines()}


def test_the_playbooks_are_whole(installed: Installed) -> None:
    names = ["deploy.yml", *(f"playbooks/{name}.yml" for name in ("grade", "teardown", "verify", "workload"))]
    play = [installed.project / name for name in names]
    config = str(installed.project / "ansible.cfg")
    shown = installed.run("ansible-playbook", "--syntax-check", *play, ANSIBLE_CONFIG=config)
    assert {f"playbook: {path}" for path in play} <= set(shown.splitlines())


def test_the_page_of_a_made_up_machine_is_served_whole(installed: Installed) -> None:
    with _demo(installed) as origin:
        web = installed.package / "daemon/web"
        names = {str(path.relative_to(web)) for path in web.rglob("*") if path.is_file()}
        assert {"index.html", "app.js"} <= names
        assert _get(f"{origin}/") == (web / "index.html").read_bytes()
        assert [name for name in sorted(names) if _get(f"{origin}/web/{name}") != (web / name).read_bytes()] == []


@contextlib.contextmanager
def _demo(installed: Installed) -> Iterator[str]:
    """The address of a page that is served, until Ctrl-C."""
    argv = installed.command("kmodlab", "dashboard", "--demo", "--no-browser")
    with subprocess.Popen(
        argv, cwd=installed.folder, env=installed.variables(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            shown = next((line for line in process.stdout if "#token=" in line), "")
            yield shown.strip().partition("/#token=")[0]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def _get(address: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=SECONDS) as answer:
        body: bytes = answer.read()
        return body


def test_a_package_that_is_missing_is_named_with_what_to_do(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')\n")
    said = installed.run("kmodlab", "--version", status=3, PYTHONPATH=str(tmp_path))
    assert "the Python package typer is not installed" in said
    assert f"hint: run `{installed.environment}/bin/python -m pip check`" in said
