"""The command line: `kmodlab guest`, `kmodlab image`, and what else the lab offers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from typer.core import TyperGroup

from kmodlab import __version__, doctor, environment, matrix, matrix_page, paths
from kmodlab.daemon.commands import app as history_app
from kmodlab.errors import UsageError
from kmodlab.faults import guarded
from kmodlab.grading.commands import check_command, grade_command, new_command, own_command, worker_command
from kmodlab.guest import Guest, box, list_guests
from kmodlab.host import HOST
from kmodlab.image import buildroot
from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.image import Image, build_image, is_current, list_images
from kmodlab.image.plan import planned
from kmodlab.image.release import RELEASES
from kmodlab.lab import GUEST, run_lab
from kmodlab.process import interruptible, run
from kmodlab.sanitize import kernels
from kmodlab.sanitize.kernels import RECIPES
from kmodlab.vm import accelerator, snapshot
from kmodlab.vm.hardware import Boot

if TYPE_CHECKING:
    from kmodlab.grading.grader import GraderFactory


class _Commands(TyperGroup):
    """All commands: what they raise is told here, for click takes some of it for its own."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the one that was asked for."""
        try:
            return super().invoke(ctx)
        except (OSError, EOFError):
            with guarded():
                raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A kernel-module lab: real VMs, Ansible, and tests.",
)
guest_app = typer.Typer(no_args_is_help=True, help="Guests: real virtual machines under QEMU.")
image_app = typer.Typer(no_args_is_help=True, help="Images that guests start from.")
lab_app = typer.Typer(help="The lab: one guest with both modules, or the labs that classes are graded by.")
app.add_typer(lab_app, name="lab")
app.add_typer(guest_app, name="guest")
app.add_typer(image_app, name="image")
app.add_typer(history_app, name="history")

Name = Annotated[str, typer.Argument(help="The guest's name.")]
ImageOption = Annotated[str, typer.Option(help=f"Release: auto (the host's own), {', '.join(RELEASES)}.")]
Memory = Annotated[int, typer.Option(help="MiB of memory.", min=256)]
Cpus = Annotated[int, typer.Option(help="Virtual processors.", min=1, max=64)]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]


#: commands that look at the user's environment, or hand it on to a program of the user's
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Of commands with a parser of their own, which is that of the machine with the modules."""
_IN_THE_USERS_ENVIRONMENT = ("doctor", "tasks", "trace")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"kmodlab {__version__}")
        raise typer.Exit
    if context.invoked_subcommand not in _IN_THE_USERS_ENVIRONMENT:
        environment.settle()


def _state(guest: Guest) -> dict[str, object]:
    state = "running" if guest.running else "dead"
    return {**guest.settings, "name": guest.name, "state": state, "ssh_config": str(guest.ssh_config)}


@guest_app.command("up")
def guest_up(
    name: Name,
    image: ImageOption = "auto",
    memory: Memory = 1024,
    cpus: Cpus = 2,
    port: Annotated[int, typer.Option(help="Host port for ssh; 0: any free one.", min=0, max=65535)] = 0,
    boot: Annotated[
        Boot, typer.Option(help="What boots it: direct (QEMU), disk (its boot loader) or secure (UEFI).")
    ] = "direct",
    cold: Annotated[bool, typer.Option("--cold", help="Boot, do not resume from the snapshot.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a guest up, from nothing if need be, and wait until it can be logged into."""
    guest = Guest(name)
    changed = guest.up(image=planned(image), memory=memory, cpus=cpus, port=port, boot=boot, cold=cold)
    if as_json:
        print(json.dumps({"changed": changed, **_state(guest)}))
    else:
        print(f"{name} is up{'' if changed else ' already'}: ssh -F {guest.ssh_config} {name}")


@guest_app.command("down")
def guest_down(name: Name, as_json: Json = False) -> None:
    """Stop a guest and remove its disk and state."""
    changed = Guest(name).down()
    if as_json:
        print(json.dumps({"changed": changed, "name": name, "state": "absent"}))
    else:
        print(f"{name} is gone" if changed else f"there is no guest {name}")


@guest_app.command("list")
def guest_list(as_json: Json = False) -> None:
    """List the guests, running or dead."""
    states = [_state(guest) for guest in list_guests()]
    if as_json:
        print(json.dumps(states))
        return
    image = Column("image", overflow="fold")
    table = Table("name", "state", image, "memory", "cpus", "accelerator", "ssh port", box=None)
    for state in states:
        columns = ("name", "state", "image", "memory", "cpus", "accelerator", "port")
        table.add_row(*(str(state.get(column, "-")) for column in columns))
    Console().print(table)


@guest_app.command("ssh")
def guest_ssh(name: Name) -> None:
    """Log into a guest."""
    argv = Guest(name).ssh_command()
    os.execvp(argv[0], argv)  # noqa: S606


@guest_app.command("exec", context_settings={"ignore_unknown_options": True})
def guest_exec(
    name: Name,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Command and arguments.")],
) -> None:
    """Run a command in a guest on this terminal, and exit with its status. One word alone is given to a shell."""
    # ssh joins its words with blanks for the guest's shell: one word is a shell command, several are a program's.
    command = argv[0] if len(argv) == 1 else shlex.join(argv)
    raise typer.Exit(subprocess.run(Guest(name).ssh_command(command), check=False).returncode)


@guest_app.command("build")
def guest_build(
    name: Name,
    module: Annotated[Path, typer.Argument(help="The module's directory; ../compat is taken along.", exists=True)],
) -> None:
    """Build a module for a guest natively, with the compiler and headers of the guest's image; print the .ko's path."""
    guest = Guest(name)
    running = guest.succeed("uname -r").strip()
    root = BuildRoot.of_image(guest.image)
    if running != root.kernel:
        raise UsageError(
            f"the guest {name} runs {running}, its image has the headers of {root.kernel}",
            hint="build inside the guest: there the headers follow the running kernel",
        )
    module = module.resolve()
    print(root.made(module, f"-j{HOST.processors()}", output=guest.directory / "build" / module.name))


@guest_app.command("console")
def guest_console(
    name: Name, follow: Annotated[bool, typer.Option("--log", help="Show the recorded console only.")] = False
) -> None:
    """Attach to a guest's serial console (leave with Ctrl-]), or show what it printed."""
    from kmodlab.guest import terminal  # noqa: PLC0415  # termios exists on a terminal's side only

    guest = Guest(name)
    if not guest.directory.exists():
        raise guest.not_up()
    if follow or not sys.stdin.isatty():
        sys.stdout.write(guest.console.tail(200) + "\n")
    else:
        terminal.attach(guest.directory)


@image_app.command("build")
def image_build(
    release: Annotated[str, typer.Argument(help="Release; auto is the host's own.")] = "auto",
    force: Annotated[
        bool,
        typer.Option("--force", help="Build another with what the archive has today; see prune."),
    ] = False,
) -> None:
    """Build a guest image, unless it is there."""
    image = build_image(planned(release), force=force)
    print(f"{image.id}: kernel {image.kernel_version}, {image.size() >> 20} MiB")


@image_app.command("box")
def image_box(
    release: Annotated[str, typer.Argument(help=f"auto (the host's own), {', '.join(RELEASES)}.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Copy it there, too.", dir_okay=False)] = None,
) -> None:
    """Make a Vagrant box for libvirt of an image, unless it is there; print its file, for `vagrant box add`."""
    file = box.build_box(planned(release))
    if out:
        run(["cp", "--reflink=auto", file, out], hint="is it a directory that is there, with room on its disk?")
    print(out or file)


def _is_current(image: Image) -> bool:
    return is_current(image) or kernels.is_current(image)


@image_app.command("list")
def image_list(as_json: Json = False) -> None:
    """List the images, and whether each is still what a build would give."""
    images = list(list_images())
    if as_json:
        rows = [{"id": i.id, "release": i.release.name, "kernel": i.kernel_version, "bytes": i.size()} for i in images]
        print(json.dumps(rows))
        return
    table = Table("image", "kernel", "MiB", "state", box=None)
    for image in images:
        table.add_row(
            image.id, image.kernel_version, str(image.size() >> 20), "current" if _is_current(image) else "old"
        )
    Console().print(table)


@image_app.command("prune")
def image_prune(
    everything: Annotated[bool, typer.Option("--all", help="Remove the current images too.")] = False,
) -> None:
    """Remove images that nothing would use again, and the snapshots and boxes that belong to them."""
    users = {str(guest.settings.get("image")): guest.name for guest in list_guests() if guest.has_disk}
    kept = set()
    for image in list_images():
        if not everything and _is_current(image):
            kept.add(image.id)
        elif image.id in users:
            kept.add(image.id)
            print(f"kept {image.id}: the disk of the guest {users[image.id]} is made upon it")
        else:
            image.remove()
            print(f"removed {image.id}")
    from kmodlab.vm import template  # noqa: PLC0415  # commands that do not grade start without it

    for path in (*snapshot.prune(kept), *buildroot.prune(kept), *box.prune(kept), *template.prune(kept)):
        print(f"removed {path.name}")


@app.command("trace", context_settings=_PASSED_ON, add_help_option=False)
def trace_command(context: typer.Context) -> None:
    """Trace programs on this machine, if it has the tracer; guests have this command too: `kmodlab trace --help`."""
    from kmodlab.modules import cli  # noqa: PLC0415  # the lab's own commands do without it

    raise typer.Exit(cli.main(context.args))


@app.command("tasks", context_settings=_PASSED_ON, add_help_option=False)
def tasks_command(context: typer.Context) -> None:
    """Show the tasks of this machine, if it has the lister; guests have this command too: `kmodlab tasks --help`."""
    from kmodlab.modules import tasks  # noqa: PLC0415  # the lab's own commands do without it

    raise typer.Exit(tasks.main(context.args))


@app.command("accelerator")
def accelerator_command() -> None:
    """Print kvm where it really boots a kernel on this host, else tcg: what the Vagrantfile asks, too."""
    print(accelerator.choose_for_others())


app.command("grade")(grade_command)
app.command("check")(own_command)
app.command("worker")(worker_command)
lab_app.command("new")(new_command)
lab_app.command("check")(check_command)


@lab_app.callback(invoke_without_command=True)
def lab_command(
    context: typer.Context,
    image: ImageOption = "auto",
    memory: Memory = 1024,
    cpus: Cpus = 2,
    select: Annotated[str, typer.Option(help="Which contract tests to run, as for pytest's -m.")] = "quick",
) -> None:
    """Bring up the lab: a guest with both modules built, loaded, exercised and verified; exit 1 if a check failed."""
    if context.invoked_subcommand:
        return
    if not run_lab(image=planned(image), memory=memory, cpus=cpus, selection=select):
        raise typer.Exit(1)


@app.command("matrix")
def matrix_command(
    kernels: Annotated[list[str] | None, typer.Argument(help="Guests of the inventory's group kernel_guests.")] = None,
    jobs: Annotated[int, typer.Option(help="How many at a time; 0: as memory and processors allow.", min=0)] = 0,
    write: Annotated[bool, typer.Option("--write", help="Write docs/SUITE.md and docs/SUITE.json.")] = False,
    suite: Annotated[str, typer.Option(help=f"What to run: {' or '.join(matrix.SUITES)}.")] = "kernels",
    select: Annotated[str, typer.Option(help="Which of its tests, as for pytest's -m; all by default.")] = "",
    as_json: Json = False,
) -> None:
    """Run the whole contract on every kernel, each in a guest of its own; exit 1 if one did not pass."""
    if suite not in matrix.SUITES:
        raise UsageError(f"no suite: {suite}", hint=f"known: {' '.join(matrix.SUITES)}")
    if write and select:
        raise UsageError("docs/ shows what all tests came to", hint="leave out --select or --write")
    if write and not paths.is_checkout():
        raise UsageError("--write is for a checkout, whose docs/ it writes", hint="leave it out: --json has all rows")
    rows = matrix.run_matrix(kernels or (), suite=suite, selection=select, jobs=jobs)
    if write:
        matrix.write(rows, jobs or matrix.parallel(), suite)
    counted = matrix.SUITES[suite].page.counted
    print(json.dumps([asdict(row) for row in rows]) if as_json else matrix_page.table(rows, counted))
    raise typer.Exit(0 if all(row.verdict == "pass" for row in rows) else 1)


@app.command("sanitize")
def sanitize_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="KERNEL...", help=f"Of {', '.join(RECIPES)}.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="STEP", help="Take this step; may come again.")] = None,
    core: Annotated[bool, typer.Option("--core", help="Take the short selection of steps.")] = False,
    soak: Annotated[float, typer.Option(metavar="HOURS", help="Take no step, but keep the modules under load.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Put what is found into docs/sanitizers.md.")] = False,
    as_json: Json = False,
) -> None:
    """Try the modules in kernels that are built to find fault; exit 1 if one was found. A kernel is built once."""
    from kmodlab.sanitize import campaign, outcome, page, steps  # noqa: PLC0415  # as below

    taken = [steps.soaking(soak)] if soak else steps.chosen(only or (), core=core)
    found = {}
    for name in names or RECIPES:
        image = kernels.build_kernel(name)
        found[name] = campaign.run_campaign(image, taken, scan_once=core)
        if write:
            page.record(image, found[name])
    if as_json:
        print(json.dumps({name: [asdict(one) for one in each] for name, each in found.items()}))
    else:
        print("\n\n".join(f"{name}\n\n{outcome.as_table(each)}" for name, each in found.items()))
    raise typer.Exit(1 if any(one.findings for each in found.values() for one in each) else 0)


@app.command("dashboard")
def dashboard_command(
    guest: Annotated[str, typer.Argument(help="The guest whose tracer is shown.")] = GUEST,
    demo: Annotated[
        bool, typer.Option("--demo", help="A machine that is made up: no module, no guest, no network.")
    ] = False,
    hub: Annotated[bool, typer.Option("--hub", help="Show all hosts of the fleet whose hub the guest is.")] = False,
    port: Annotated[int, typer.Option(help="Port on this machine; 0: any free one.", min=0, max=65535)] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
) -> None:
    """Show what the tracer of a guest sees as it happens, and its history, on a page in the browser; Ctrl-C ends it."""
    if demo and hub:
        raise UsageError("the machine that is made up is no fleet", hint="--hub or --demo, not both")
    if not demo:
        from kmodlab import dashboard  # noqa: PLC0415  # as below

        dashboard.show(guest, port, not no_browser, server=dashboard.HUB if hub else dashboard.HOST)
        return
    from kmodlab.daemon import dashboard as made_up  # noqa: PLC0415  # half of what starting takes, for one command

    made_up.demo(port, not no_browser)


@app.command("top")
def top_command(
    guest: Annotated[str, typer.Argument(help="The guest whose tracer is shown.")] = GUEST,
    demo: Annotated[
        bool, typer.Option("--demo", help="A machine that is made up: no module, no guest, no network.")
    ] = False,
    socket: Annotated[
        Path | None, typer.Option(help="The socket of this machine's own daemon, for root and the group kmodlab.")
    ] = None,
) -> None:
    """Show what the tracer of a guest sees as it happens, in the terminal; q quits, ? lists the keys."""
    from kmodlab.top import command  # noqa: PLC0415  # as below

    if demo and socket:
        raise UsageError("--demo and --socket are two machines", hint="give one of them")
    if demo:
        command.demo()
    elif socket:
        command.socket(socket)
    else:
        command.guest(guest)


@app.command("doctor")
def doctor_command(as_json: Json = False) -> None:
    """Name what this host lacks for the lab, with the fix for each; exit 3 if anything is lacking."""
    findings = list(doctor.examine())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print("\n".join(line for finding in findings for line in finding.lines()))
    raise typer.Exit(doctor.status(findings))


def main(argv: Sequence[str] | None = None, make_grader: GraderFactory | None = None) -> None:
    """Run the command line; end with one clear message whatever happens.

    Args:
        argv: the command's, without its name; by default those that this process was started with.
        make_grader: what has the machines that submissions are graded in; by default this one's.

    Exit status: 0, or 2 for a usage error, 3 when the lab broke, 4 when a guest crashed, 1 for a failed command (and
    where whoever reads what it prints has gone before it was done), 70 for a fault of kmodlab itself, of which a log
    is kept, 130 after Ctrl-C, 143 when terminated.
    """
    with guarded():
        interruptible()
        app(argv, prog_name="kmodlab", obj=make_grader)
