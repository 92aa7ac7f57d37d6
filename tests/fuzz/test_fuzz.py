"""The modules' own sources, in user space, under two million inputs: what is written to them, and the tracer's rows.

The inputs are the same in each run: they follow from the corpus and the seed. `make fuzz` looks for new ones.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

HERE = project_dir() / "tests" / "fuzz"
SOURCES = project_dir() / "kernel" / "syscall_tracer"
LISTER = project_dir() / "kernel" / "task_lister"
FUZZERS = ("command", "text", "select")
#: fuzzer, seed, inputs, and how long they may be: most of them short, for of these a few thousand a second are run
RUNS = [
    ("command", 1, 195_000, 200),
    ("command", 2, 195_000, 200),
    ("command", 3, 10_000, 4200),
    ("text", 4, 600_000, 600),
    ("select", 5, 1_000_000, 1100),
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
    "a filter is not copied": ("filter.c", "filters->count * sizeof", "(filters->count - 1) * sizeof"),
    "a filter is leaked": ("command.c", "	kfree(filter);\n", ""),
    "a path without its last byte": ("text.c", 'filter->path_len, ""', 'filter->path_len - 1, ""'),
    "the capability is not asked for": ("command.c", "!capable(CAP_SYS_ADMIN)", "false"),
    "a comm of 17 bytes": ("command.c", "SCT_COMM_LEN - 1", "SCT_COMM_LEN + 1"),
    "a control sequence in the row": ("text.c", "if (*text > ' ' &&", "if (*text >= ' ' &&"),
    "an item beyond its record": ("text.c", "head.size > rec->size - at", "false"),
    "a selection of a signed number": ("select.c", "isdigit(*text) && ", ""),
    "a selection up to a zero byte": ("select.c", "strlen(copy) == size", "true"),
    "a column twice": ("select.c", "s->wanted & BIT_ULL(field)", "false"),
    "a word twice": ("select.c", "*seen & BIT(i)", "false"),
    "33 ranges": ("select.c", "ranges->count == TL_RANGES", "ranges->count > TL_RANGES"),
    "a name that is too long": ("select.c", "length >= sizeof(s->comm)", "length > sizeof(s->comm)"),
    "each name may go on": ("select.c", "s->comm_begins || !name[s->comm_length]", "true"),
    "a range without its end": ("select.c", "number <= ranges->range[i].last", "number < ranges->range[i].last"),
    "a number that is passed over": ("select.c", "ranges->range[i].first > *pid", "ranges->range[i].first > *pid + 1"),
    "since without who it is": ("select.c", "(s->wanted & needed) != needed", "!(s->wanted | needed)"),
    "a selection is leaked": (
        "select.c",
        "		kfree(s);\n		return ERR_PTR(err);",
        "		return ERR_PTR(err);",
    ),
    "threads that have ended": ("select.c", "s->is_since || s->threads", "s->is_since"),
    "whose child has ended": ("select.c", "v->number[TL_PPID]", "v->number[TL_PID]"),
    "a user who was not asked for": ("select.c", "is_in(&s->uid, from", "is_in(&s->ppid, from"),
}


def build(output: Path, sources: Path = SOURCES, lister: Path = LISTER) -> None:
    """Compile the fuzzers."""
    command = ["make", "-s", "-C", str(HERE), f"SOURCES={sources}", f"LISTER={lister}", f"BUILD={output}"]
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
    build(output)
    return output


@pytest.mark.parametrize(("name", "seed", "runs", "longest"), RUNS)
def test_inputs_break_nothing(name: str, seed: int, runs: int, longest: int, fuzzers: Path, tmp_path: Path) -> None:
    """No input crashes, leaks, or leaves behind what docs/abi.md does not allow."""
    options = f"-runs={runs}", f"-seed={seed}", f"-max_len={longest}", "-timeout=10"
    done = fuzz(fuzzers / f"fuzz_{name}", HERE / "corpus" / name, tmp_path, *options)
    assert done.returncode == 0, done.stderr[-6000:]
    assert f"stat::number_of_executed_units: {runs}" in done.stderr


def broken(fuzzers: Path, name: str, old: str, new: str, folder: Path) -> Path:
    """The directory with the fuzzers of the sources with this mistake: the others are compiled already."""
    given = LISTER if name == "select.c" else SOURCES
    sources = Path(shutil.copytree(given, folder / "sources"))
    output = Path(shutil.copytree(fuzzers, folder / "build"))
    text = (sources / name).read_text()
    assert text.count(old) == 1
    (sources / name).write_text(text.replace(old, new))
    # A source that is newer than they are has make begin anew; one whose object is gone has it compile that.
    shutil.copystat(given / name, sources / name)
    (output / "own" / name).with_suffix(".o").unlink()
    build(output, **{"lister" if given == LISTER else "sources": sources})
    return output


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_found(what: str, fuzzers: Path, tmp_path: Path) -> None:
    """The corpus alone finds out each of these mistakes."""
    output = broken(fuzzers, *BROKEN[what], tmp_path)
    assert any(_notices(fuzzer, output, tmp_path / fuzzer) for fuzzer in FUZZERS), "no fuzzer has noticed"


def _notices(name: str, fuzzers: Path, work: Path) -> bool:
    work.mkdir()
    return fuzz(fuzzers / f"fuzz_{name}", HERE / "corpus" / name, work, "-runs=0", "-max_len=4200").returncode != 0
