"""The tracer's own sources, in user space, under a million inputs in all: what is written to it, and the rows it shows.

The inputs are the same in each run: they follow from the corpus and the seed. `make fuzz` looks for new ones.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

HERE = project_dir() / "tests" / "fuzz"
#: fuzzer, seed, inputs, and how long they may be: most of them short, for of these a few thousand a second are run
RUNS = [
    ("command", 1, 195_000, 200),
    ("command", 2, 195_000, 200),
    ("command", 3, 10_000, 4200),
    ("text", 4, 600_000, 600),
]
#: what is broken -> the source, its text, and the text in place of that: each fuzzer sees what it is there for
BROKEN = {
    "half a transaction stays": ("stage.c", "sct_filters_put(stage->filters);", "sct_filters_publish(stage->filters);"),
    "calls are examined too late": (
        "stage.c",
        "	sct_points_examine(filters, true);\n	sct_filters_publish(filters);\n",
        "	sct_filters_publish(filters);\n	sct_points_examine(filters, true);\n",
    ),
    "a signed number": ("command.c", "!isdigit(*value) || kstrtoint", "kstrtoint"),
    "129 filters": ("filter.c", "filters->count == SCT_FILTERS_MAX", "filters->count > SCT_FILTERS_MAX"),
    "a filter is leaked": ("command.c", "	kfree(filter);\n", ""),
    "a path without its last byte": ("text.c", 'filter->path_len, ""', 'filter->path_len - 1, ""'),
    "the capability is not asked for": ("command.c", "!capable(CAP_SYS_ADMIN)", "false"),
    "a comm of 17 bytes": ("command.c", "SCT_COMM_LEN - 1", "SCT_COMM_LEN + 1"),
    "a control sequence in the row": ("text.c", "if (*text > ' ' &&", "if (*text >= ' ' &&"),
    "an item beyond its record": ("text.c", "head.size > rec->size - at", "false"),
}


def build(sources: Path, output: Path) -> None:
    """Compile the fuzzers."""
    command = ["make", "-s", "-C", str(HERE), f"SOURCES={sources}", f"BUILD={output}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def fuzz(binary: Path, corpus: Path, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a fuzzer on a corpus, which it leaves alone; what it finds is put into `work`."""
    found = work / "found"
    found.mkdir()
    command = [str(binary), "-verbosity=1", "-print_final_stats=1", f"-artifact_prefix={work}/", *options]
    if (words := HERE / f"{binary.name.removeprefix('fuzz_')}.dict").exists():
        command.append(f"-dict={words}")
    return subprocess.run([*command, str(found), str(corpus)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the fuzzers of the sources as they are."""
    if not shutil.which("clang"):
        pytest.fail("clang is not installed: `.config/setup test` installs it", pytrace=False)
    output = tmp_path_factory.mktemp("fuzzers")
    build(project_dir() / "kernel" / "syscall_tracer", output)
    return output


@pytest.mark.parametrize(("name", "seed", "runs", "longest"), RUNS)
def test_inputs_break_nothing(name: str, seed: int, runs: int, longest: int, fuzzers: Path, tmp_path: Path) -> None:
    """No input crashes, leaks, or leaves behind what docs/abi.md does not allow."""
    options = f"-runs={runs}", f"-seed={seed}", f"-max_len={longest}", "-timeout=10"
    done = fuzz(fuzzers / f"fuzz_{name}", HERE / "corpus" / name, tmp_path, *options)
    assert done.returncode == 0, done.stderr[-6000:]
    assert f"stat::number_of_executed_units: {runs}" in done.stderr


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_found(what: str, tmp_path: Path) -> None:
    """The corpus alone finds out each of these mistakes."""
    name, old, new = BROKEN[what]
    sources = Path(shutil.copytree(project_dir() / "kernel" / "syscall_tracer", tmp_path / "sources"))
    text = (sources / name).read_text()
    assert text.count(old) == 1
    (sources / name).write_text(text.replace(old, new))
    build(sources, tmp_path / "build")
    ends = []
    for fuzzer in ("command", "text"):
        work = tmp_path / fuzzer
        work.mkdir()
        ends.append(
            fuzz(
                tmp_path / "build" / f"fuzz_{fuzzer}", HERE / "corpus" / fuzzer, work, "-runs=0", "-max_len=4200"
            ).returncode
        )
    assert any(ends), "neither fuzzer has noticed"
