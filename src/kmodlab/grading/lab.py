"""A lab as data: labs/<name>/lab.yml, read and checked.

The folder's layout:

    lab.yml      what this file reads
    HANDOUT.md   what students are given to read
    starter/     what students start from
    solution/    what earns full marks, unless `solution` names another folder
    tests/       pytest files of the lab's own
    mutants/     patches of the solution, each of which must lose a point
    deviations/  patches of the solution, each of which may lose what it names, and no more
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kmodlab import contract, paths
from kmodlab.errors import UsageError
from kmodlab.grading.result import Outcome, TestResult, Visibility

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MODULE = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,55}$"

Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Part(BaseModel):
    """A part of lab.yml: nothing else in it than what is known, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Module(_Part):
    """A module that students hand in.

    Attributes:
        name: as lsmod shows it; empty: whatever they called it.
        parameters: for insmod.
    """

    name: Annotated[str, Field(pattern=_MODULE)] | Literal[""] = ""
    parameters: dict[Annotated[str, Field(pattern=_MODULE)], str] = {}

    @field_validator("parameters", mode="before")
    @classmethod
    def _words(cls, known: Any) -> Any:  # noqa: ANN401  # what YAML says, whatever it is
        return {key: str(value) for key, value in known.items()} if isinstance(known, dict) else known


class Limits(_Part):
    """What a submission may use.

    Attributes:
        build: seconds to compile.
        load: seconds for insmod.
        test: seconds for each test.
        unload: seconds for rmmod.
        total: seconds that a submission may be in machines; then the tests that are left are not run.
        memory: MiB of the machine.
        processors: of the machine.
        disk: MiB that a build may write.
        log: KiB kept of each log.
        upload: MiB of all files of a submission, unpacked.
        files: how many files a submission may have.
    """

    build: Seconds = 60
    load: Seconds = 10
    test: Seconds = 60
    unload: Seconds = 10
    total: Annotated[float, Field(gt=0, le=86400)] = 600
    memory: Annotated[int, Field(ge=128, le=65536)] = 512
    processors: Annotated[int, Field(ge=1, le=16)] = 1
    disk: Annotated[int, Field(ge=1, le=65536)] = 256
    log: Annotated[int, Field(ge=1, le=65536)] = 256
    upload: Annotated[int, Field(ge=1, le=1024)] = 16
    files: Annotated[int, Field(ge=1, le=10000)] = 400


class Test(_Part):
    """One test of the lab.

    Attributes:
        id: short, unique in the lab.
        title: one sentence: what holds if it passes.
        nodes: pytest's, in the lab's tests/ or, with contract/ in front, a contract test; all of them must pass.
        points: what it gives.
        bonus: it is beyond the core: its points are counted apart, and a pass does not need it.
        visibility: who may see it.
        group: tests with the same word look at the same thing: where one breaks its machine, the others come last.
    """

    __test__ = False  # for pytest, which takes the name for one of its own

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    title: Annotated[str, Field(min_length=1)]
    nodes: Annotated[tuple[str, ...], Field(min_length=1, validation_alias=AliasChoices("node", "nodes"))]
    points: Annotated[float, Field(ge=0, le=10000, allow_inf_nan=False)]
    bonus: bool = False
    visibility: Visibility = "visible"
    group: str = ""

    @field_validator("nodes", mode="before")
    @classmethod
    def _listed(cls, known: Any) -> Any:  # noqa: ANN401
        return (known,) if isinstance(known, str) else known

    @field_validator("nodes")
    @classmethod
    def _inside(cls, nodes: tuple[str, ...]) -> tuple[str, ...]:
        for node in nodes:
            file = Path(node.partition("::")[0])
            if file.is_absolute() or ".." in file.parts or file.suffix != ".py":
                raise ValueError(f"{node!r} is no test file of the lab's tests/ or of contract/")
        return nodes

    def result(self, outcome: Outcome, earned: float = 0.0, **more: Any) -> TestResult:  # noqa: ANN401
        """Return a result of this test.

        Args:
            outcome: what it came to.
            earned: points.
            more: the result's other attributes.
        """
        about = {"id": self.id, "title": self.title, "points": self.points}
        about |= {"bonus": self.bonus, "visibility": self.visibility}
        return TestResult(**{**about, **more}, outcome=outcome, earned=earned)


class Late(_Part):
    """What becomes of a late submission.

    Attributes:
        rule: take it as any other, take points off, or refuse it.
        percent: of the points, where points are taken off.
    """

    rule: Literal["accept", "penalty", "refuse"] = "accept"
    percent: Annotated[float, Field(ge=0, le=100)] = 0

    @property
    def penalty(self) -> float:
        """The part of the points that being late costs."""
        return self.percent / 100 if self.rule == "penalty" else 0.0


class Solution(_Part):
    """Where the reference solution is.

    Attributes:
        folder: relative to the lab, or to the project where it begins with `kernel/`.
        beside: names of folders beside it that it needs; they come to lie inside.
    """

    folder: str = "solution"
    beside: tuple[str, ...] = ()


def _repeated(names: Iterable[str]) -> str:
    """Return a name that is there more than once, or nothing."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


class Lab(_Part):
    """A lab.

    Attributes:
        folder: where it is.
        title: for people.
        modules: that are loaded, in this order.
        files: patterns of the files that are expected; any may be missing, and the student is told.
        build: `makefile`: with theirs, or ours where they have none; `kbuild`: ours over their .c files.
        images: guest images, newest first; the first is the one that students are told.
        older_images: where it does not build on the first, take the next one on which it does.
        markers: which contract tests apply, as for pytest's `-m`.
        limits: see there.
        fresh_vm_after_crash: whether the tests after a crash run, in a fresh machine.
        tests: in the order they run.
        due: when it has to be handed in; for people. What is late is read from the names of a download.
        late: see there.
        duplicates: which of several submissions of one student counts.
        solution: see there.
        starter_at_most: the part of the points that the starter may earn, for `lab check`.
        mutants: patterns of patches, relative as `solution.folder` is.
        deviations: patterns of patches that say what they may cost; see `deviation.py`.
    """

    folder: Path
    title: Annotated[str, Field(min_length=1)]
    modules: Annotated[tuple[Module, ...], Field(min_length=1)]
    files: tuple[str, ...] = ()
    build: Literal["makefile", "kbuild"] = "makefile"
    images: Annotated[tuple[str, ...], Field(min_length=1)] = ("auto",)
    older_images: bool = False
    markers: str = ""
    limits: Limits = Limits()
    fresh_vm_after_crash: bool = True
    tests: Annotated[tuple[Test, ...], Field(min_length=1)]
    due: datetime | None = None
    late: Late = Late()
    duplicates: Literal["last", "first"] = "last"
    solution: Solution = Solution()
    starter_at_most: Annotated[float, Field(ge=0, le=1)] = 0.5
    mutants: tuple[str, ...] = ("mutants/*.patch",)
    deviations: tuple[str, ...] = ("deviations/*.patch",)

    @model_validator(mode="after")
    def _consistent(self) -> Lab:
        if twice := _repeated(test.id for test in self.tests):
            raise ValueError(f"tests: the id {twice!r} is there twice")
        if twice := _repeated(node for test in self.tests for node in test.nodes):
            raise ValueError(f"tests: {twice!r} belongs to two of them: what it came to could not be told apart")
        if not any(test.points and not test.bonus for test in self.tests):
            raise ValueError("tests: no test gives a point that is no bonus")
        if self.due and self.due.tzinfo is None:
            raise ValueError("due: a time zone is missing, as in 2030-01-31 23:59:00 +01:00")
        return self

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def max_score(self) -> float:
        """Points that all tests of the core give together."""
        return round(sum(test.points for test in self.tests if not test.bonus), 2)

    @property
    def digest(self) -> str:
        """Digest of what decides a result: lab.yml's tests, limits and building, and the test files."""
        decides = {
            "title",
            "folder",
            "due",
            "late",
            "duplicates",
            "solution",
            "mutants",
            "deviations",
            "starter_at_most",
        }
        digest = hashlib.sha256(self.model_dump_json(exclude=decides).encode())
        for file in self.test_files():
            content = file.read_bytes()
            digest.update(f"\n{file.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def test_files(self) -> list[Path]:
        """Return all files that its tests are made of, helpers included."""
        roots = {self.node_file(node).parent for test in self.tests for node in test.nodes}
        if (own := self.folder / "tests").is_dir():
            roots.add(own)
        return sorted({file for root in roots for file in root.rglob("*") if file.is_file() and file.suffix != ".pyc"})

    def node_file(self, node: str) -> Path:
        """Return the file of a pytest node."""
        file = node.partition("::")[0]
        return (contract.FOLDER.parent if file.startswith("contract/") else self.folder / "tests") / file

    def place(self, folder: str) -> Path:
        """Return a folder that lab.yml names: of the project where it begins with `kernel/` or `tests/mutants/`."""
        own = not folder.startswith(("kernel/", "tests/mutants/"))
        return (self.folder if own else paths.project_dir()) / folder

    def nothing_ran(self) -> tuple[TestResult, ...]:
        """Return the results of a submission that never came to a test."""
        return tuple(test.result("not-run") for test in self.tests)

    @classmethod
    def load(cls, folder: Path | str) -> Lab:
        """Read a lab.

        Args:
            folder: the lab's, or the name of one of the project's own.

        Raises:
            UsageError: there is no such lab, or its lab.yml makes no sense; it says where.
        """
        place = find(folder)
        file = place / "lab.yml"
        try:
            known = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} is no YAML: {error}", hint="`kmodlab lab new NAME` makes a good one") from error
        if not isinstance(known, dict):
            raise UsageError(f"{file} has no keys and values", hint="`kmodlab lab new NAME` makes a good one")
        try:
            lab = cls(**{**known, "folder": place})
        except ValidationError as error:
            wrong = "\n".join(f"    {_where(item['loc'])}: {item['msg']}" for item in error.errors())
            hint = f"{paths.project_dir()}/docs/grading.md says what each means"
            raise UsageError(f"{file} makes no sense:\n{wrong}", hint=hint) from error
        lab.require_files()
        return lab

    def require_files(self) -> None:
        """Check that the tests which it names are there.

        Raises:
            UsageError: one is not.
        """
        for test in self.tests:
            for node in test.nodes:
                if not self.node_file(node).is_file():
                    hint = "a node is FILE.py::TEST in the lab's tests/, or contract/FILE.py::TEST"
                    raise UsageError(f"{self.name}: test {test.id}: no file {self.node_file(node)}", hint=hint)


def _where(location: Sequence[int | str]) -> str:
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return words.removeprefix(".") or "lab.yml"


def labs_dir() -> Path:
    """Return the folder of the project's own labs."""
    return paths.project_dir() / "labs"


def find(folder: Path | str) -> Path:
    """Return a lab's folder, by its path or by the name of one of the project's own.

    Raises:
        UsageError: there is none.
    """
    for place in (Path(folder), labs_dir() / folder):
        if (place / "lab.yml").is_file():
            return place.resolve()
    own = ", ".join(sorted(file.parent.name for file in labs_dir().glob("*/lab.yml"))) or "none"
    raise UsageError(f"there is no lab {folder}: no lab.yml in it", hint=f"the project's own are: {own}")


def check_name(name: str) -> str:
    """Return the name if a new lab may have it.

    Raises:
        UsageError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a lab", hint="small letters, digits, - and _")
    return name
