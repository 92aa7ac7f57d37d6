"""The benchmark of tracers without a guest: the arithmetic on canned figures, the aims, the page and the chart."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict

import pytest
from bench import aims, budget, report
from bench.chart import LEFT, chart
from bench.figures import LOOPS, Count, Counted, Counting, Row, Run, Session, Spread, loop_key
from bench.tracers import TRACERS

from kmodlab.paths import project_dir

DOCS = project_dir() / "docs"
CALLS = ("getppid", "openat", "close", "unlinkat")
SVG = "{http://www.w3.org/2000/svg}"


def _session(added: float, *, untraced: float = 0, together: float | None = None, rate: float = 5e5) -> Session:
    """A session on a machine where each call takes 361 ns, and one of two threads twice that."""
    plain = {loop_key(*loop): 361.0 * loop[1] for loop in LOOPS}
    more = {1: added, 2: added if together is None else together}
    traced = {
        loop_key(name, threads): (361 + (untraced if name == "untraced" else more[threads])) * threads
        for name, threads in LOOPS
    }
    rates = {"getppid:1": rate, "openat:1": rate / 4}
    return Session(plain, traced, rates, dict.fromkeys(CALLS, 1000), dict.fromkeys(CALLS, 1000), 0)


def _row(key: str, *added: float, group: str = "peer", reads: bool = False, rate: float = 5e5) -> Row:
    sessions = [_session(ns, rate=rate) for ns in added]
    return Row(key, f"the {key}", group, "entry", f"{key} a | b", "1.0", reads, sessions=sessions)


@pytest.fixture
def run() -> Run:
    """A run in which every aim holds."""
    rows = [
        _row("floor-ftrace", 54, 54, group="floor"),
        _row("floor-kprobe", 204, group="floor"),
        _row("ftrace", 170, 180, 190, group="module"),
        _row("kprobe", 370, group="module"),
        _row("enforcing", 240, group="module"),
        _row("netlink", 900, group="module", reads=True, rate=6e5),
        _row("trace-cmd", 1000, reads=True),
        _row("bpftrace-kfunc-count", 400),
        _row("bpftrace-kprobe-count", 630),
        Row("sysdig", "sysdig", "peer", "entry", "sysdig", absent="it does\nnot build"),
    ]
    return Run("2026-01-02", "2 x CPU", "QEMU, tcg", "6.1.0", 3, rows)


def _replace(run: Run, row: Row) -> None:
    run.rows = [row if old.key == row.key else old for old in run.rows]


def _verdicts(run: Run) -> list[bool | None]:
    return [found.holds for found in aims.findings(run)]


def test_the_spread_is_the_median_and_half_the_distance_of_the_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 1.0)
    assert Spread.of([7.0]) == Spread(7.0, 0.0)


def test_what_two_threads_add_is_told_as_of_one_alone(run: Run) -> None:
    row = run.row("ftrace")
    assert row
    for threads in (1, 2):
        added = row.added("getppid", threads)
        assert added
        assert added.median == pytest.approx(180)
        assert added.half == pytest.approx(5)
    assert row.added("untraced", 1) == Spread(0.0, 0.0)


def test_what_was_not_delivered_is_told_by_the_call_or_by_the_total() -> None:
    row = _row("reader", 1000, reads=True, rate=1e5)
    session = row.sessions[0]
    session.events["getppid"], session.lost = 900, 7
    assert (row.share("getppid"), row.missing("getppid"), row.missing("openat")) == (0.9, 100, 0)
    assert row.delivered("getppid", 1) == Spread(9e4, 0)
    assert row.lost() == 7
    session.events = {"total": 2000}
    assert row.share("getppid") == 0.5
    session.events, session.lost = {"total": 4321}, None
    assert (row.share("getppid"), row.lost(), row.lossless("openat")) == (1.0, None, True)


def test_a_run_survives_its_file(run: Run) -> None:
    assert Run.read(json.loads(json.dumps(asdict(run)))) == run


def test_every_aim_holds_where_it_does(run: Run) -> None:
    assert _verdicts(run) == [True] * 9


@pytest.mark.parametrize(
    ("row", "failing"),
    [
        (_row("ftrace", 230, group="module"), [0]),
        (_row("ftrace", 410, group="module"), [0, 2]),
        (_row("enforcing", 281, group="module"), [1]),
        (_row("bpftrace-kfunc-count", 100), [2]),
        (_row("netlink", 900, group="module", reads=True, rate=4e5), [8]),
    ],
)
def test_an_aim_that_is_missed_is_named(run: Run, row: Row, failing: list[int]) -> None:
    _replace(run, row)
    assert [index for index, holds in enumerate(_verdicts(run)) if holds is not True] == failing


def test_an_untraced_call_that_is_taxed_is_named(run: Run) -> None:
    _replace(run, Row("kprobe", "k", "module", "", "", sessions=[_session(370, untraced=20)] * 3))
    assert [found.holds for found in aims.findings(run) if "not traced" in found.aim] == [True, False]


def test_threads_that_hinder_each_other_are_named(run: Run) -> None:
    _replace(run, Row("kprobe", "k", "module", "", "", sessions=[_session(370, together=500)] * 3))
    assert [found.holds for found in aims.findings(run) if "two threads" in found.aim] == [True, False]


def test_lost_events_are_named(run: Run) -> None:
    row = run.row("netlink")
    assert row
    row.sessions[0].events["close"] -= 3
    assert [found.holds for found in aims.findings(run)][-2:] == [False, True]
    assert "3 missing, 0 lost" in aims.findings(run)[-2].measured
    row.sessions[0].lost = 2
    assert [found.holds for found in aims.findings(run)][-2:] == [False, False]


def test_what_was_not_measured_is_no_aim_that_holds(run: Run) -> None:
    run.rows = [row for row in run.rows if row.key == "sysdig"]
    assert _verdicts(run) == [None] * 9
    assert {found.verdict for found in aims.findings(run)} == {"not measured"}
    assert aims.limits(run) == []
    assert "nothing measured" in chart(run)


def test_the_aims_scale_with_the_machine(run: Run) -> None:
    for row in run.rows:
        for session in row.sessions:
            for times in (session.plain, session.traced):
                times.update({key: ns * 2 for key, ns in times.items()})
    assert aims.scale(run) == 2.0
    assert "the aim is +440" in aims.findings(run)[0].measured
    assert _verdicts(run) == [True] * 9


def test_the_distance_from_the_physical_limit_is_told(run: Run) -> None:
    assert aims.limits(run) == [
        "An empty ftrace handler costs +54 ± 0 ns; the complete record by that hook +180 ± 5 ns, 126 ns more.",
        "An empty kprobe handler costs +204 ± 0 ns; the complete record by that hook +370 ± 0 ns, 166 ns more.",
        "A filter that looks at a call and lets it pass costs 60 ns more than the record alone; "
        "the aims leave 60 for it.",
    ]


def test_a_run_on_a_busy_machine_says_so(run: Run) -> None:
    for row in run.rows[:4]:
        for session in row.sessions:
            session.plain["getppid:1"] = 900.0
    assert aims.limits(run)[0].startswith("The machine was busy with something else: a plain getppid took 900 ±")


def test_an_untraced_call_that_seems_cheaper_is_noise(run: Run) -> None:
    _replace(run, Row("kprobe", "k", "module", "", "", sessions=[_session(370, untraced=-50)] * 3))
    assert [found.holds for found in aims.findings(run) if "not traced" in found.aim] == [True, True]


def test_the_page_says_what_was_measured_and_what_was_not(run: Run) -> None:
    run.rows[-2].failures.append("nothing was traced: openat")
    text = report.page({"tracers": asdict(run)})
    assert "| the ftrace | entry | +180 ± 5 | +180 ± 5 |" in text
    assert "| the trace-cmd | 500,000 ± 0 | 0.0 % | 125,000 ± 0 | 0.0 % | 0 |" in text
    assert r"| the trace-cmd | 1.0 | `` trace-cmd a \| b `` |" in text
    assert "- sysdig: it does not build\n" in text
    assert "- the bpftrace-kprobe-count: nothing was traced: openat\n" in text
    assert text.count("| holds |") == 9


def _counted(key: str, added: float, *, untraced: float = 0) -> Counted:
    """A tracer on a machine where each call takes 341 instructions, and 81 are around the loop of a hundred."""
    more = {name: untraced if name == "untraced" else added for name, threads in LOOPS if threads == 1}
    plain = {name: Count(100, 34181, 20, 24) for name in more}
    traced = {name: Count(100, 34181 + round(100 * cost), 11, 12) for name, cost in more.items()}
    return Counted(key, f"the {key}", plain, traced)


@pytest.fixture
def counting() -> Counting:
    """A run in which every aim in instructions holds."""
    rows = [_counted("floor-ftrace", 35), _counted("floor-clock", 80), _counted("floor-kprobe", 155)]
    rows += [_counted("ftrace", 150), _counted("kprobe", 298), _counted("enforcing", 200)]
    rows.append(Counted("sysdig", "sysdig", failure="it does not build"))
    return Counting("2026-01-02", "QEMU", "6.1.0", rows)


def test_the_smallest_chunk_counts() -> None:
    assert Count.of([(100, 500), (100, 400), (100, 409), (100, 410)]) == Count(100, 400, 2, 4)
    with pytest.raises(ValueError, match="too many values"):
        Count.of([(100, 500), (200, 400)])


def test_the_instructions_of_the_loop_itself_are_not_the_tracers(counting: Counting) -> None:
    assert counting.added("ftrace") == 150
    assert counting.added("ftrace", "untraced") == 0
    assert counting.added("sysdig") is None
    assert counting.added("unheard-of") is None


def test_what_was_counted_survives_its_file(counting: Counting) -> None:
    assert Counting.read(json.loads(json.dumps(asdict(counting)))) == counting


def test_an_aim_in_instructions_that_is_missed_is_named(counting: Counting) -> None:
    assert [found.holds for found in aims.counted_findings(counting)] == [True] * 4
    worse = [_counted("ftrace", 151, untraced=1), _counted("kprobe", 298), _counted("enforcing", 201)]
    counting.rows = worse
    assert [found.holds for found in aims.counted_findings(counting)] == [False, False, False, True]
    counting.rows = worse[:0]
    assert [found.holds for found in aims.counted_findings(counting)] == [None] * 4
    assert aims.counted_limits(counting) == []


def test_the_distance_from_the_physical_limit_is_told_in_instructions(counting: Counting) -> None:
    assert aims.counted_limits(counting) == [
        "The physical limit: an empty ftrace handler adds 35, and one that tells when the call was 80. The complete "
        "record by that hook, which has the call's arguments, task, user and name, and a place in the log, adds 70 "
        "to that.",
        "An empty kprobe handler adds 155, the complete record by that hook 298: ftrace holds the entry point beside "
        "the kprobe, so ftrace has two to call each time.",
        "A filter that looks at a call and lets it pass adds 50 to the record.",
    ]


def test_the_page_says_what_was_counted_and_what_was_not(counting: Counting) -> None:
    text = report.page({"instructions": asdict(counting)})
    assert "Alone, a call takes getppid 342, openat 342, unlink 342, untraced 342. Of 12 chunks" in text
    assert "| the ftrace | +150 | +150 | +150 | +0 | 11 |" in text
    assert "- sysdig: it does not build\n" in text
    assert text.count("| holds |") == 4


def test_a_bar_of_the_chart_is_as_long_as_its_cost(run: Run) -> None:
    tree = ET.fromstring(chart(run))  # noqa: S314  # our own
    labels = [element.text for element in tree.iter(f"{SVG}text") if element.get("text-anchor") == "end"]
    bars = [float(element.get("width", 0)) for element in tree.iter(f"{SVG}rect") if element.get("height") == "15"]
    assert labels[:2] == ["the floor-ftrace", "the ftrace"]
    assert len(labels) == len(bars) == 9
    assert bars == sorted(bars)


def test_every_name_has_room_beside_its_bar() -> None:
    # Eight pixels a letter, in bold type of that size.
    assert [tracer.label for tracer in TRACERS if len(tracer.label) * 8 > LEFT - 16] == []


def test_docs_benchmarks_md_is_made_from_benchmarks_json() -> None:
    document = report.load()
    assert (DOCS / "benchmarks.md").read_text() == report.page(document)
    drawn = chart(Run.read(document["tracers"])) if "tracers" in document else None
    file = DOCS / report.CHART
    assert (file.read_text() if file.exists() else None) == drawn


def test_what_costs_more_than_its_budget_or_less_is_told() -> None:
    row = _counted("ftrace", 182)
    assert list(budget.breaches({"getppid": 182, "unlink": 179, "untraced": 0}, row)) == []
    assert list(budget.breaches({"getppid": 177, "unlink": 187, "nothing": 1}, row)) == [
        "ftrace, getppid: 182.0 instructions, the budget is 177: what is worth that?",
        "ftrace, unlink: 182.0 instructions, the budget is 187: lower it in budget.json",
        "ftrace, nothing: nothing was counted",
    ]
    assert list(budget.breaches({"untraced": 0}, _counted("ftrace", 182, untraced=1))) == [
        "ftrace, untraced: 1.0 instructions, the budget is 0: what is worth that?"
    ]


def test_a_hop_in_the_table_of_kprobes_is_no_change() -> None:
    """Seen from one boot to the next: 484 instead of 494. Twice that is a change, and an untraced call has none."""
    assert list(budget.breaches({"getppid": 494}, _counted("kprobe", 484))) == []
    assert list(budget.breaches({"getppid": 494}, _counted("kprobe", 504))) == []
    for cost in (474, 514):
        assert len(list(budget.breaches({"getppid": 494}, _counted("kprobe", cost)))) == 1
    assert len(list(budget.breaches({"getppid": 494}, _counted("ftrace", 484)))) == 1
    assert len(list(budget.breaches({"untraced": 0}, _counted("kprobe", 494, untraced=1)))) == 1


def test_every_tracer_of_the_budget_is_measured() -> None:
    assert {"ftrace", "kprobe", "enforcing", "returns"} == set(budget.read()) <= {tracer.key for tracer in TRACERS}
