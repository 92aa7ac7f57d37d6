"""The netlink family: what it shows, what it changes, whom it refuses."""

from __future__ import annotations

import errno
import itertools
import random
import struct
from typing import Any

import pytest

from .calls import calls_there, why_missing
from .machine import Machine
from .netlink import CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, NEW_NET, NEW_USER, SPEC, Step, ask, step
from .parameters import set_parameter
from .readers.tracer_page import Page, Stats, parse_filters, parse_page, parse_stats
from .script import TRACER, TRACER_STATS, Answer, call, nonce, read, script, write
from .script import step as helper_step

pytestmark = pytest.mark.syscall_tracer

CAN_DO, CAN_DUMP = 0x02, 0x04
"""Flags of an operation, as the kernel's controller tells them (uapi/linux/genetlink.h)."""
NOBODY = 65534
CLEAR, SHOW = ask("filter-clear"), ask("filter-get")
DEFAULTS = (
    "open openat openat2 creat read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 "
    "close close_range unlink unlinkat"
)
"""The calls that are traced from the start."""


def play(*steps: str) -> Step:
    """Run the helper in C between the client's steps."""
    return step("play", script=script(*steps))


def page_of(answer: Answer) -> Page:
    """Read the page that the last step of a `play` has read."""
    return parse_page(answer["play"][-1]["text"])


def stats_of(answer: Answer) -> Stats:
    """Read the statistics that the last step of a `play` has read."""
    return parse_stats(answer["play"][-1]["text"])


def refusal(answer: Answer) -> tuple[int, str]:
    """Return the error and its message."""
    return answer["errno"], answer.get("message", "")


def verdicts(answer: Answer) -> list[tuple[str, int]]:
    """Return name and verdict of each filter."""
    return [(each["name"], each["verdict"]) for each in answer["replies"]]


def test_the_family_is_as_specified(tracer: Machine) -> None:
    """The family is there with its version, its group and its operations."""
    opened, answer = tracer.talk(step("open", name="a"), step("resolve", name="a"))
    assert opened["errno"] == answer["errno"] == 0
    family = answer["family"]
    assert family["version"] == SPEC.version
    assert sorted(family["groups"]) == sorted(SPEC.groups) == ["blocked", "events"]
    kinds = {"do": CAN_DO, "dump": CAN_DUMP}
    served = [each for each in SPEC.operations.values() if "event" not in each.kinds]
    told = {int(number): flags & 0x07 for number, flags in family["operations"].items()}
    assert told == {each.number: sum(kinds[kind] for kind in each.kinds) for each in served}


def test_the_status_is_that_of_the_statistics(tracer: Machine) -> None:
    """status-get tells the version, the parameters, and the counters of the statistics."""
    shown = "cd /sys/module/syscall_tracer; cat version parameters/log_entries parameters/data_bytes parameters/hook"
    status, page, files = tracer.talk(ask("status-get"), play(read(TRACER_STATS)), step("sh", command=shown))
    (told,) = status["replies"]
    # Without it nobody is left out.
    assert sorted({*told, "left-out"}) == sorted(SPEC.operations["status-get"].replies)
    version, _, data_bytes, hook = files["text"].split()
    assert (told["version"], told["data-bytes"], told["hook"]) == (version, int(data_bytes), hook)
    assert told["issued"] == told["logged"] + told["overwritten"] + told["dropped"]
    counters = stats_of(page).counters
    names = ("missed", "orphaned", "returns-missed", "excluded")
    for name, shown in ((name, name.replace("-", " ").capitalize()) for name in names):
        assert told[name] <= counters[shown]
    assert told["overwritten"] <= counters["Overwritten"]
    assert told["logged"] > 0
    assert 0 <= counters["Issued"] - told["issued"] < 20_000


def test_the_status_follows_the_parameters(tracer: Machine) -> None:
    """status-get tells the mode, whether calls are recorded at their return, and the calls in flight."""
    sleepers = "sleep 1000 & p=$!; until grep -q nanosleep /proc/$p/wchan /proc/$p/stack; do :; done; echo $p"
    *_, off, _, on, _ = tracer.talk(
        play(write("trace nanosleep"), set_parameter("enforce", 0), set_parameter("returns", 0)),
        ask("status-get"),
        play(
            set_parameter("enforce", 1),
            set_parameter("returns", 1),
            helper_step("sh", f"({sleepers}) >/run/sleeper 2>/dev/null"),
        ),
        ask("status-get"),
        play(
            helper_step("sh", "kill $(cat /run/sleeper); rm /run/sleeper"),
            set_parameter("enforce", 0),
            set_parameter("returns", 0),
            write("untrace nanosleep"),
        ),
    )
    fields = ("mode", "returns")
    assert [off["replies"][0][field] for field in fields] == [0, 0]
    assert [on["replies"][0][field] for field in fields] == [1, 1]
    assert off["replies"][0]["in-flight"] == 0
    assert on["replies"][0]["in-flight"] >= 1


def test_the_generation_tells_of_changes(tracer: Machine) -> None:
    """It is another one after each change of a filter and of what is traced, and the same while nothing changes."""
    comm = nonce("changes")
    lines = ("trace mkdir", f"mkdir block comm={comm}", f"mkdir allow comm={comm}", "mkdir delete", "untrace mkdir")
    answers = tracer.talk(
        *(one for line in ("mkdir allow", "clear", *lines) for one in (play(write(line)), ask("status-get"))),
        play(read(TRACER), write("mkdir nosuchcall block", "mkdir delete"), call("close", comm)),
        ask("filter-get"),
        ask("call-get"),
        ask("status-get"),
    )
    told = [each["replies"][0]["generation"] for each in answers[1::2][: len(lines) + 2]]
    assert len(set(told)) == len(told)
    assert answers[-1]["replies"][0]["generation"] == told[-1]


def test_a_call_that_is_named_is_another_generation(tracer: Machine) -> None:
    """Also where the change it was named in is refused, for call-get tells of it."""
    *_, first = tracer.talk(ask("call-get"), ask("status-get"))
    known = {each["name"] for each in tracer.talk(ask("call-get"))[0]["replies"]}
    new = next(name for name in ("getresgid", "getresuid", "getpriority", "getgroups", "getsid") if name not in known)
    refused, calls, second = tracer.talk(play(write(f"trace ={new} =nosuchcall")), ask("call-get"), ask("status-get"))
    assert refused["play"][0]["errno"] == errno.ENOENT
    assert new in {each["name"] for each in calls["replies"]}
    assert second["replies"][0]["generation"] != first["replies"][0]["generation"]


def test_each_cpu_obeys_the_law(tracer: Machine) -> None:
    """cpu-get tells the counters of each CPU: issued = logged + overwritten + dropped."""
    flood = play(call("close:300", nonce("law"), cpu=0))
    before, _, dump, page = tracer.talk(ask("cpu-get"), flood, ask("cpu-get"), play(read(TRACER_STATS)))
    told = {each["cpu"]: each for each in dump["replies"]}
    shown = stats_of(page).cpus
    assert sorted(told) == sorted(shown)
    for cpu, counts in told.items():
        assert counts["issued"] == counts["logged"] + counts["overwritten"] + counts["dropped"]
        assert counts["issued"] <= shown[cpu].issued
        assert counts["overwritten"] <= shown[cpu].overwritten
    assert told[0]["issued"] - before["replies"][0]["issued"] >= 300


def test_calls_are_told_by_name(tracer: Machine) -> None:
    """call-get tells of each call its name, arguments, and whether it is traced; ids do not change."""
    first, answer, second, _ = tracer.talk(
        ask("call-get"),
        play(write("trace mkdir", "untrace =unlinkat")),
        ask("call-get"),
        play(write("untrace mkdir", "trace unlink")),
    )
    assert answer["play"][0]["errno"] == 0
    before, after = ({each["name"]: each for each in one["replies"]} for one in (first, second))
    assert {name: call["id"] for name, call in before.items()}.items() <= {n: c["id"] for n, c in after.items()}.items()
    assert sorted(call["id"] for call in after.values()) == list(range(len(after)))
    assert (before["unlinkat"]["traced"], after["unlinkat"]["traced"]) == (1, 0)
    assert after["mkdirat"]["traced"] == 1
    assert (after["mkdirat"]["arguments"], after["openat"]["arguments"]) == ("Dpm", "Dpxm")
    assert after["mkdirat"]["compat-arguments"] == "Dpm"
    assert all(len(call["compat-arguments"]) <= 6 for call in after.values())
    assert all(sorted(call) == sorted(SPEC.operations["call-get"].replies) for call in after.values())


ALONE = write("clear", "untrace open read write close unlink", "trace =timer_getoverrun")
AS_BEFORE = write("clear", "untrace =timer_getoverrun", "trace open read write close unlink")
COUNTS = ("issued", "blocked", "failed")


def flood(count: int, processes: int) -> str:
    """Return the step in which so many processes make so many calls each, of a kind that nobody else makes."""
    return helper_step("flood", count, processes)


def counted(dumps: list[Answer], name: str) -> list[tuple[int, ...]]:
    """Return by how much the counts of a call have grown from each dump of the calls to the next."""
    told = [next(each for each in dump["replies"] if each["name"] == name) for dump in dumps]
    return [tuple(after[field] - before[field] for field in COUNTS) for before, after in itertools.pairwise(told)]


def test_calls_are_counted_whatever_is_lost(tracer: Machine) -> None:
    """call-get counts what of a call was issued, blocked and failed: exactly, long after the log has lost it."""
    answers = tracer.talk(
        play(ALONE),
        ask("call-get"),
        play(flood(2500, 4)),
        ask("call-get"),
        play(write("timer_getoverrun block"), flood(30, 2)),
        ask("call-get"),
        play(set_parameter("enforce", 1), flood(20, 2), set_parameter("enforce", 0)),
        ask("call-get"),
        play(write("clear"), set_parameter("returns", 1), flood(10, 2), set_parameter("returns", 0)),
        play(AS_BEFORE, flood(5, 1)),
        ask("call-get"),
    )
    dumps = [answer for answer in answers if "replies" in answer]
    assert counted(dumps, "timer_getoverrun") == [(10_000, 0, 0), (60, 60, 0), (40, 40, 0), (20, 0, 20)]


def test_a_call_that_succeeds_has_not_failed(tracer: Machine) -> None:
    """With returns=1 a call has failed where it returned an error, and not where it returned a large number."""
    before, _, after = tracer.talk(
        ask("call-get"),
        play(
            # The second one finds what the first one made; nobody else on a machine makes such a call.
            write("clear", "trace mknod", "trace getppid"),
            set_parameter("returns", 1),
            call("getppid:3,mknodat:2", nonce("failed")),
            set_parameter("returns", 0),
            write("untrace mknod", "untrace getppid"),
        ),
        ask("call-get"),
    )
    before["replies"] += [dict.fromkeys(COUNTS, 0) | {"name": name} for name in ("mknodat", "getppid")]
    issued, blocked, failed = counted([before, after], "getppid")[0]
    assert (issued >= 3, blocked, failed) == (True, 0, 0)
    assert counted([before, after], "mknodat") == [(2, 0, 1)]


def test_the_counts_of_all_calls_are_the_law(tracer: Machine) -> None:
    """What all calls have issued is what all CPUs have, 32-bit programs and untraced calls included."""
    made = "compat_unlinkat,unlinkat:2" if not why_missing(tracer, "compat_unlinkat") else "unlinkat:3"
    *_, calls, cpus, _ = tracer.talk(
        play(call(f"openat:2,{made}", nonce("sum")), ALONE, flood(500, 2)),
        ask("call-get"),
        ask("cpu-get"),
        play(AS_BEFORE),
    )
    assert sum(each["issued"] for each in calls["replies"]) == sum(each["issued"] for each in cpus["replies"])


def test_calls_are_traced_and_untraced(tracer: Machine) -> None:
    """call-set traces several calls at once, or stops to: all of them, or none where one of them does not exist."""
    comm, unseen = nonce("setcalls"), nonce("unset")
    made = "mkdirat,getppid,unlinkat"
    on, _, bad, off, _, page, back = tracer.talk(
        ask("call-set", name_=["mkdir", "=getppid"], traced=1),
        play(call(made, comm)),
        ask("call-set", name_=["mkdir", "nosuchcall"], traced=0),
        ask("call-set", name_=["=getppid", "unlink", "mkdir"], traced=0),
        play(call(made, unseen)),
        play(read(TRACER)),
        ask("call-set", name_=["unlink"], traced=1),
    )
    assert on["errno"] == off["errno"] == back["errno"] == 0
    assert refusal(bad) == (errno.ENOENT, "no such system call")
    rows = page_of(page)
    assert sorted(row.call for row in rows.of(comm)) == ["getppid", "mkdirat", "unlinkat"]
    assert not rows.of(unseen)


def test_filters_are_those_of_the_file(tracer: Machine) -> None:
    """filter-add, -get, -del and -clear work on the filters of the file, in their order, with each predicate."""
    full: dict[str, Any] = {
        "name_": "open",
        "verdict": 1,
        "errno": 13,
        "pid": 77,
        "uid": 1000,
        "comm": "a b\\",
        "path": "/srv/x y",
    }
    *added, got, page, _, more, deleted, left, cleared, none = tracer.talk(
        ask("filter-add", **full),
        ask("filter-add", name_="=unlinkat", verdict=0),
        ask("filter-add", name_="=unlinkat", verdict=0),
        SHOW,
        play(helper_step("filters")),
        play(write("close block errno=EIO uid=5")),
        SHOW,
        ask("filter-del", name_="open"),
        SHOW,
        CLEAR,
        SHOW,
    )
    assert [answer["errno"] for answer in (*added, deleted, cleared)] == [0] * 5
    wanted = [{**full, "name": "open"}, {"name": "=unlinkat", "verdict": 0}]
    wanted[0].pop("name_")
    assert got["replies"] == wanted
    assert parse_filters(page["play"][0]["text"]) == (
        r"open: BLOCK errno=EACCES pid=77 uid=1000 comm=a\040b\134 path=/srv/x\040y",
        "=unlinkat: ALLOW",
    )
    assert more["replies"][2:] == [{"name": "close", "verdict": 1, "errno": 5, "uid": 5}]
    assert verdicts(left) == [("=unlinkat", 0), ("close", 1)]
    assert none["replies"] == []


def test_filters_judge_calls(tracer: Machine) -> None:
    """A filter that was added through netlink blocks the calls that match, and traces them."""
    comm = nonce("judged")
    *_, page, _, _ = tracer.talk(
        ask("filter-add", name_="mkdir", verdict=1, comm=comm),
        ask("filter-add", name_="close", verdict=0, comm=comm),
        ask("filter-add", name_="close", verdict=1, comm=comm),
        play(call("mkdirat,close", comm), read(TRACER)),
        CLEAR,
        ask("call-set", name_=["mkdir"], traced=0),
    )
    assert [(row.call, row.blocked) for row in page_of(page).of(comm)] == [("mkdirat", True), ("close", False)]


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("filter-add", {"name_": "nosuchcall", "verdict": 1}, errno.ENOENT, "no such system call"),
    ("filter-add", {"name_": "../../x", "verdict": 1}, errno.ENOENT, "no such system call"),
    ("filter-add", {"name_": "open"}, errno.EINVAL, "a verdict is missing"),
    ("filter-add", {"verdict": 1}, errno.EINVAL, "a name is missing"),
    ("filter-add", {"name_": "", "verdict": 1}, errno.EINVAL, "a value is missing"),
    ("filter-add", {"name_": "open", "verdict": 1, "comm": ""}, errno.EINVAL, "a value is missing"),
    ("filter-add", {"name_": "open", "verdict": 1, "path": ""}, errno.EINVAL, "a value is missing"),
    ("filter-add", {"name_": "open", "verdict": 0, "errno": 1}, errno.EINVAL, "an errno is for block"),
    ("filter-add", {"name_": "getpid", "verdict": 1, "path": "/"}, errno.EINVAL, "it takes no path"),
    ("filter-del", {"name_": "open"}, errno.ENOENT, "no such filter"),
    ("filter-del", {}, errno.EINVAL, "a name is missing"),
    ("call-set", {"name_": ["open"]}, errno.EINVAL, "traced is missing"),
    ("call-set", {"traced": 1}, errno.EINVAL, "a name is missing"),
    ("call-set", {"name_": ["nosuchcall"], "traced": 1}, errno.ENOENT, "no such system call"),
]


def test_refusals_say_why(tracer: Machine) -> None:
    """What is refused changes nothing, has the errno of the file, and a message that says why."""
    steps = [ask(operation, **values) for operation, values, *_ in REFUSED]
    before, *answers, after, filters = tracer.talk(ask("call-get"), *steps, ask("call-get"), SHOW)
    for (operation, values, number, message), answer in zip(REFUSED, answers, strict=True):
        assert refusal(answer) == (number, message), f"{operation} {values}"
    assert filters["replies"] == []
    traced = [{each["name"] for each in one["replies"] if each["traced"]} for one in (before, after)]
    assert traced[0] == traced[1]


def attribute(number: int, payload: bytes, length: int | None = None) -> bytes:
    """Return one attribute, of a length that may be a lie."""
    size = 4 + len(payload) if length is None else length
    return struct.pack("=HH", size, number) + payload + bytes(-len(payload) % 4)


def test_attributes_out_of_bounds_are_refused(tracer: Machine) -> None:
    """Attributes that are too long, too short, not terminated, out of range, unknown or cut are refused."""
    name, verdict = attribute(1, b"open\0"), attribute(2, struct.pack("=I", 1))
    bad = {
        "a name of 64": attribute(1, b"a" * 64 + b"\0") + verdict,
        "a name without an end": attribute(1, b"open") + verdict,
        "a name of 60000": attribute(1, b"a" * 60000 + b"\0") + verdict,
        "a comm of 16": name + verdict + attribute(6, b"a" * 16 + b"\0"),
        "a path of 256": name + verdict + attribute(7, b"/" * 256 + b"\0"),
        "verdict 2": name + attribute(2, struct.pack("=I", 2)),
        "a verdict of 2 bytes": name + attribute(2, b"\1\0"),
        "errno 0": name + verdict + attribute(3, struct.pack("=I", 0)),
        "errno 134": name + verdict + attribute(3, struct.pack("=I", 134)),
        "pid -1": name + verdict + attribute(4, struct.pack("=i", -1)),
        "an attribute there is not": name + verdict + attribute(99, b"\0" * 4),
        "a nested attribute": name + verdict + attribute(0x8000 | 7, b"/\0"),
        "a length beyond the end": name + attribute(2, struct.pack("=I", 1), length=60),
    }
    *answers, filters = tracer.talk(
        *(step("raw", operation="filter-add", payload=each.hex()) for each in bad.values()), SHOW
    )
    for what, answer in zip(bad, answers, strict=True):
        assert answer["errno"] in (errno.EINVAL, errno.ERANGE), f"{what}: {answer}"
    assert filters["replies"] == []


def test_random_messages_break_nothing(tracer: Machine) -> None:
    """Messages of random bytes, for each operation and for none, leave the filters and the kernel as they were."""
    dice = random.Random(4242)  # noqa: S311  # the same messages each time
    commands = [*range(12), 255]
    garbage = [
        bytes([dice.choice(commands), 1, 0, 0]) + dice.randbytes(dice.choice((0, 3, 4, 5, 40, 400))) for _ in range(300)
    ]
    garbage += [b"", b"\1", b"\1\1", b"\6\1\0"]
    answer, filters, status = tracer.talk(
        ("garbage", {"messages": [each.hex() for each in garbage if each[:1] != b"\x08"]}), SHOW, ask("status-get")
    )
    assert answer["errors"] > 100
    assert filters["replies"] == []
    assert status["errno"] == 0


def test_a_dump_of_many_messages_is_one_picture(tracer: Machine) -> None:
    """128 filters take several messages, and are those of the dump's beginning, whatever happens meanwhile."""
    adding = [ask("filter-add", name_="open", verdict=1, uid=uid, path="/" * 100) for uid in range(128)]
    *added, extra, dump, after = tracer.talk(
        *adding, ask("filter-add", name_="close", verdict=1), ask("filter-get", between=[CLEAR]), SHOW
    )
    assert {answer["errno"] for answer in added} == {0}
    assert refusal(extra) == (errno.ENOSPC, "too many filters")
    assert [each["uid"] for each in dump["replies"]] == list(range(128))
    assert dump["messages"] >= 3
    assert after["replies"] == []


def test_every_call_is_dumped(tracer: Machine) -> None:
    """With more than a hundred calls known, call-get takes several messages and has each call once."""
    names = [f"={name}" for name in calls_there(tracer)[:130]]
    known, dump = tracer.talk(ask("call-set", name_=names, traced=1), ask("call-get"))
    assert known["errno"] == 0
    told = [each["name"] for each in dump["replies"]]
    assert len(told) == len(set(told)) > 100
    assert [each["id"] for each in dump["replies"]] == list(range(len(told)))
    assert dump["messages"] >= 3, "the last one only says that it is over"
    extra = [name for name in told if name not in DEFAULTS.split()]
    (unknown,) = tracer.talk(ask("call-set", name_=[f"={name}" for name in extra], traced=0))
    assert unknown["errno"] == 0


def everything(name: str) -> list[Step]:
    """Each operation, and joining each group, through this socket."""
    values: dict[str, dict[str, Any]] = {
        "status-get": {},
        "cpu-get": {},
        "call-get": {},
        "call-set": {"name_": ["read"], "traced": 0},
        "filter-get": {},
        "filter-add": {"name_": "read", "verdict": 1},
        "filter-del": {"name_": "read"},
        "filter-clear": {},
        "leave-out": {},
    }
    operations = [ask(operation, name=name, **attributes) for operation, attributes in values.items()]
    joins = [step("join", name=name, look=False, group=group) for group in SPEC.groups]
    return [*operations, *joins]


def as_somebody(who: dict[str, Any]) -> list[Step]:
    """Try everything as somebody else, on a socket that this one opens."""
    return [step("as", who=who, steps=[step("open", name="a"), step("resolve", name="a"), *everything("a")])]


STRANGERS: dict[str, dict[str, Any]] = {
    "a user": {"uid": NOBODY},
    "root without the capabilities": {"without": [CAP_SYS_ADMIN, CAP_PERFMON]},
    "a user with another capability": {"uid": NOBODY, "only": [CAP_NET_ADMIN]},
    "root of a user namespace": {"namespaces": NEW_USER},
}


@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_are_refused(tracer: Machine, who: str) -> None:
    """Without CAP_SYS_ADMIN in the initial user namespace no operation works, nor joining the group: {who}."""
    _, answer, filters, calls, _ = tracer.talk(
        ask("filter-add", name_="close", verdict=0), *as_somebody(STRANGERS[who]), SHOW, ask("call-get"), CLEAR
    )
    opened, resolved, *tried = answer["inner"]
    assert (opened["errno"], resolved["errno"]) == (0, 0)
    assert [one["errno"] for one in tried] == [errno.EPERM] * len(everything("a"))
    assert verdicts(filters) == [("close", 0)]
    assert {each["name"]: each["traced"] for each in calls["replies"]}["read"] == 1


def test_the_capability_is_enough(tracer: Machine) -> None:
    """A user who has CAP_SYS_ADMIN and nothing else may do everything."""
    (answer,) = tracer.talk(*as_somebody({"uid": NOBODY, "only": [CAP_SYS_ADMIN]}))
    tracer.talk(ask("call-set", name_=["read"], traced=1))
    assert [one["errno"] for one in answer["inner"]] == [0] * len(answer["inner"])


def test_who_may_watch_may_read_and_change_nothing(tracer: Machine) -> None:
    """A user who has CAP_PERFMON and nothing else may read all, and neither change anything nor join the group."""
    (answer,) = tracer.talk(*as_somebody({"uid": NOBODY, "only": [CAP_PERFMON]}))
    _, _, *tried = answer["inner"]
    operations = [options.get("operation", "") for _, options in everything("a")]
    wanted = [0 if operation.endswith("-get") else errno.EPERM for operation in operations]
    assert [one["errno"] for one in tried] == wanted
    assert wanted.count(0) == 4


def test_a_socket_of_root_is_no_way_around(tracer: Machine) -> None:
    """A socket that root has opened lends its rights to nobody: EPERM."""
    *_, answer = tracer.talk(
        step("open", name="a"), step("resolve", name="a"), step("as", who={"uid": NOBODY}, steps=everything("a"))
    )
    assert [one["errno"] for one in answer["inner"]] == [errno.EPERM] * len(everything("a"))


def test_another_network_namespace_has_no_family(tracer: Machine) -> None:
    """In a network namespace of one's own there is no family, and whoever joins the group's number hears nothing."""
    spy = [
        step("open", name="b"),
        step("resolve", name="b"),
        step("join", name="b", number=0),
    ]
    opened, resolved = tracer.talk(step("open", name="a"), step("resolve", name="a"))
    assert opened["errno"] == 0
    spy[2][1]["number"] = resolved["family"]["groups"]["events"]
    inside = [*spy, step("take", name="b", seconds=0.5)]
    *_, answer, heard = tracer.talk(
        step("open", name="a"),
        step("join", name="a"),
        step("as", who={"namespaces": NEW_USER | NEW_NET}, steps=inside),
        step("listen", name="a"),
    )
    _, refused, _, taken = answer["inner"]
    assert refused["errno"] == errno.ENOENT
    assert taken["batches"] == 0
    assert heard["count"] > 0


def test_both_ways_in_are_one(tracer: Machine) -> None:
    """Transactions through netlink and through the file at the same time: each takes effect as a whole."""
    one_write = f"dd bs=64k iflag=fullblock of={TRACER}"
    add, delete = (rf"printf 'open {verb}\nclose {verb}\n' | {one_write}" for verb in ("block uid=7", "delete"))
    loop = f"i=0; while [ $i -lt 30 ]; do {add}; {delete}; i=$((i+1)); done"
    rounds = [
        one
        for _ in range(60)
        for one in (
            ask("filter-add", name="a", name_="read", verdict=0),
            ask("filter-get", name="a"),
            ask("filter-del", name="a", name_="read"),
        )
    ]
    start = step("sh", command=f"({loop}; touch /run/both-done) >/dev/null 2>&1 &")
    wait = step("sh", command="until [ -e /run/both-done ]; do sleep 0.05; done; rm /run/both-done")
    *_, left = answers = tracer.talk(step("open", name="a"), start, *rounds, wait, SHOW)
    answers = answers[2:-2]
    assert {answer["errno"] for answer in answers} == {0}
    pictures = [sorted(name for name, _ in verdicts(answer)) for answer in answers[1::3]]
    assert {tuple(picture) for picture in pictures} <= {("read",), ("close", "open", "read")}
    assert left["replies"] == []
