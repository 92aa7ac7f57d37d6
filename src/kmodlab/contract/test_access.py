"""Who may read and write the files: the modes, and what they mean in practice."""

from __future__ import annotations

import errno

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .readers.task_pages import parse_list
from .readers.tracer_words import error_name, refused, require_filters
from .readers.wording import require_none, require_that, text_of, wrong
from .script import CORE_FILES, DETAIL, LISTER, TASK_FILES, TRACER, TRACER_STATS, Answer, read, script, step, write

NOBODY = 65534
EPERM = "Operation not permitted"
USERNS_REFUSED = "the machine allows no user namespace"
UNCHANGED = "Who may not write changes nothing."
CAPABLE = "capable(CAP_SYS_ADMIN) at each write: it asks for the initial user namespace"


@pytest.mark.syscall_tracer
@pytest.mark.quick
def test_unprivileged_users_can_neither_read_nor_write_the_tracer(tracer: Machine) -> None:
    """An unprivileged user can neither read nor write /proc/syscall_tracer (EACCES); its mode is 0600."""
    # With proc_gid the file has a group, which may read; a member of no group may not, either way.
    inner = step("as", NOBODY, NOBODY, script(read(TRACER), write("unlink block")))
    answer, mode, shown = tracer.play(inner, step("mode", TRACER), step("filters"))
    page, written = answer["inner"]
    tried = (("read", page["errno"]), ("write", written["open_errno"]))
    seen = [f"To {how} it: {error_name(error)}" for how, error in tried if error != errno.EACCES]
    require_none(seen, f"Another user who opens {TRACER} gets EACCES.", "proc_create(NAME, 0600, ...)")
    right = (mode["mode"], mode["uid"]) == (0o640 if mode["gid"] else 0o600, 0)
    require_that(right, f"{TRACER} is root's, with mode 0600.", f"It has mode {mode['mode']:04o}, user {mode['uid']}.")
    require_filters(shown, (), UNCHANGED)


@pytest.mark.syscall_tracer
def test_writing_takes_the_capability(tracer: Machine) -> None:
    """Root without CAP_SYS_ADMIN may open the file, but its writes fail with EPERM and change nothing."""
    lines = ("read block", "clear", "untrace read")
    inner = step("nocap", script(*map(write, lines)))
    _, answer, shown, _ = tracer.play(write("clear", "=unlinkat block"), inner, step("filters"), write("clear"))
    for written, line in zip(answer["inner"], lines, strict=True):
        refused(written, f"`{line}` by root without CAP_SYS_ADMIN", errno.EPERM, CAPABLE)
    require_filters(shown, ("=unlinkat: BLOCK",), UNCHANGED)


@pytest.mark.syscall_tracer
def test_reading_takes_a_capability(tracer: Machine) -> None:
    """Root without CAP_SYS_ADMIN and CAP_PERFMON cannot read the log (EPERM); either of them is enough."""
    one = f"setpriv --bounding-set {{}} head -c 22 {TRACER} 2>&1; true"
    refused, perfmon, admin = tracer.play(
        *(step("sh", one.format(capabilities)) for capabilities in ("-all", "-all,+cap_38", "-all,+sys_admin"))
    )
    assert "Operation not permitted" in refused["text"]
    assert perfmon["text"] == admin["text"] == "System Call Tracer Log"


@pytest.mark.syscall_tracer
def test_the_statistics_are_for_who_may_read_the_log(tracer: Machine) -> None:
    """/proc/syscall_tracer_stats has mode 0400, and takes the capability that the log takes."""
    inner = step("as", NOBODY, NOBODY, read(TRACER_STATS))
    one = f"setpriv --bounding-set {{}} head -c 6 {TRACER_STATS} 2>&1; true"
    other, mode, refused, perfmon = tracer.play(
        inner, step("mode", TRACER_STATS), *(step("sh", one.format(which)) for which in ("-all", "-all,+cap_38"))
    )
    assert other["inner"][0]["errno"] == errno.EACCES
    assert (mode["mode"], mode["uid"]) == (0o440 if mode["gid"] else 0o400, 0)
    assert "Operation not permitted" in refused["text"]
    assert perfmon["text"] == "Mode: "


@pytest.mark.syscall_tracer
def test_an_inherited_file_is_no_way_around(tracer: Machine) -> None:
    """An unprivileged process that was handed the open file cannot write to it: EPERM."""
    inner = step("as", NOBODY, NOBODY, step("fwrite", 0, "read block\n"))
    _, answer, shown = tracer.play(step("open", 0, TRACER, "w"), inner, step("filters"))
    refused(answer["inner"][0], "A write by another user to a file that root has opened", errno.EPERM, CAPABLE)
    require_filters(shown, (), UNCHANGED)


@pytest.mark.syscall_tracer
def test_capabilities_in_a_user_namespace_do_not_count(tracer: Machine) -> None:
    """All capabilities of a user namespace of one's own are not enough to write: EPERM."""
    inner = step("userns", step("fwrite", 0, "read block\n"))
    _, answer, shown = tracer.play(step("open", 0, TRACER, "w"), inner, step("filters"))
    if "trouble" in answer:
        pytest.skip(f"{USERNS_REFUSED}: {answer['trouble']}")
    refused(answer["inner"][0], "A write with the capabilities of a user namespace alone", errno.EPERM, CAPABLE)
    require_filters(shown, (), UNCHANGED)


@pytest.mark.task_lister
@pytest.mark.quick
def test_everybody_may_read_the_task_files_and_nobody_write_them(machine: Machine) -> None:
    """The task files have mode 0444, details perhaps 0400: a user reads them whole who may, and cannot write them."""
    writes = [step("write", path, "1\n") for path in TASK_FILES]
    inner = step("as", NOBODY, NOBODY, script(*map(read, TASK_FILES), *writes))
    answer, *modes = machine.play(inner, *(step("mode", path) for path in TASK_FILES))
    asked = "The four files are root's, and have mode 0444; that of the details may be 0400."
    shown = zip(TASK_FILES, modes, strict=True)
    seen = [(path, (mode["mode"], mode["uid"], mode["gid"])) for path, mode in shown]
    allowed = {path: {(0o444, 0, 0), *([(0o400, 0, 0)] if path == DETAIL else [])} for path in TASK_FILES}
    require_none([f"{path}: {oct(one[0])[2:]}, of {one[1:]}" for path, one in seen if one not in allowed[path]], asked)
    reads, written = answer["inner"][:4], answer["inner"][4:]
    texts = [text_of(one, path) for path, one in zip(TASK_FILES, reads, strict=True) if not is_roots(path, one)]
    refused = zip(TASK_FILES, written, strict=True)
    require_none([f"{path} is opened" for path, one in refused if one["open_errno"] != errno.EACCES], "Nobody writes.")
    missing = [f"PID {pid} is missing" for pid in (1, answer["pid"]) if pid not in parse_list(texts[0]).by_pid()]
    require_none(missing, "An unprivileged reader sees all processes.")


def is_roots(path: str, page: Answer) -> bool:
    """Whether a user could not read a file that may be root's alone."""
    return path == DETAIL and page["errno"] == errno.EACCES


@pytest.mark.task_lister
def test_parameters_say_who_may_read(machine: Machine) -> None:
    """Details are root's, all else everybody's; `detail=all` and `list=root` change that, other words are refused."""
    module = find_module(machine, "task_lister")
    look = step("as", NOBODY, NOBODY, script(*map(read, TASK_FILES)))
    tried: list[Answer] = []
    for words in ((), ("detail=all",), ("list=root",)):
        unloaded, loaded, *modes, answer = machine.play(
            module.unload(), module.load(*words), *(step("mode", path) for path in TASK_FILES), look
        )
        require(unloaded, loaded)
        tried.append({"modes": [mode["mode"] for mode in modes], "errnos": [one["errno"] for one in answer["inner"]]})
    _, *bad = machine.play(module.unload(), module.load("detail=some"), module.load("list="))
    put_back(machine, module)
    wanted = [(0o444, 0o400, 0o444, 0o444), (0o444,) * 4, (0o400,) * 4]
    for one, expected in zip(tried, wanted, strict=True):
        require_that(one["modes"] == [*expected], f"The modes are {[oct(mode) for mode in expected]}.", f"{one}")
        errnos = [0 if mode == 0o444 else errno.EACCES for mode in expected]
        require_that(one["errnos"] == errnos, "Who may read is what they say.", f"{one}")
    require_that(all(one["rc"] for one in bad), "Other words are refused.", f"{bad}")


@pytest.mark.task_lister
@pytest.mark.parametrize("path", CORE_FILES["task_lister"])
def test_a_user_reads_what_root_reads(path: str, machine: Machine) -> None:
    """Everybody can read {path} (task_detail may be root's), and nobody but root could ever write it."""
    inner = step("as", NOBODY, NOBODY, script(read(path), step("write", path, "1\n")))
    (answer,) = machine.play(inner)
    page, written = answer["inner"]
    if not is_roots(path, page):
        if page["errno"] == errno.EACCES:
            wrong(f"Everybody may read {path}.", "A user other than root may not.", "proc_create(NAME, 0444, ...)")
        text_of(page, path)
    if not written["open_errno"]:
        wrong(f"Only root could write {path}.", "A user other than root may.", "proc_create(NAME, 0444, ...)")


@pytest.mark.task_lister
def test_root_cannot_write_the_task_files(machine: Machine) -> None:
    """Writing to a task file fails for root too."""
    for path, answer in zip(
        TASK_FILES, machine.play(*(step("write", path, "1\n") for path in TASK_FILES)), strict=True
    ):
        if not answer["open_errno"] and not answer["errno"]:
            wrong(f"Nobody can write {path}.", "Writing to it succeeds.")


@pytest.mark.task_lister
def test_hidepid_hides_the_lists(machine: Machine) -> None:
    """Where procfs has hidepid=, opening a task file fails with EPERM, but not for root and the mount's group."""
    own = "mount --make-rprivate / && mount -t proc -o hidepid=2,gid=4321 proc /proc"
    one = "setpriv --reuid={0} --regid={1} --clear-groups head -c 99 {2} 2>&1 || true"
    modes = machine.play(*(step("mode", path) for path in TASK_FILES))
    paths = [path for path, mode in zip(TASK_FILES, modes, strict=True) if mode["mode"] & 0o004]
    require_that(LISTER in paths, "Everybody may read the list.", f"{modes}")
    users = ((99, 99), (99, 4321), (0, 0))
    tests = "; ".join(f"echo +; {one.format(*who, path)}" for who in users for path in paths)
    (answer,) = machine.play(step("sh", f"unshare -mpf sh -c '{own} && {{ {tests}; }}'"))
    assert answer["rc"] == 0, answer["text"]
    looks = iter(answer["text"].split("+\n")[1:])
    stranger, member, root = ([next(looks) for _ in paths] for _ in users)
    asked = "Where procfs has hidepid=, opening a task file fails with EPERM, but not for root and the mount's group."
    seen = [f"a stranger reads {path}" for path, text in zip(paths, stranger, strict=True) if EPERM not in text]
    seen += [f"root or the group read: {text[:60]}" for text in member + root if not text or " cannot " in text]
    require_none(seen, asked, "proc_sb_info(inode->i_sb)->hide_pid")
