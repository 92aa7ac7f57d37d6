"""The program `kmodlabd`: `record`, `serve` and `invite`, for systemd and for who manages the machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kmodlab.errors import KmodlabError

FOLDER = Path("/var/lib/kmodlab")
RECORDER = Path("/run/kmodlab/recorder/socket")
DASHBOARD = Path("/run/kmodlab/dashboard/socket")
PORT = 8480


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kmodlabd", description="What the tracer sees, its history, and its page.")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="listen to the tracer, and write down what it sends")
    serve = commands.add_parser("serve", help="keep the history, and answer")
    invite = commands.add_parser("invite", help="print the address of the page, which opens one session")
    for one in (record, serve):
        one.add_argument("--folder", type=Path, default=FOLDER, help="of the history (%(default)s)")
        one.add_argument("--recorder", type=Path, default=RECORDER, help="socket between the two (%(default)s)")
    for one in (serve, invite):
        one.add_argument("--socket", type=Path, default=DASHBOARD, help="socket for users (%(default)s)")
    serve.add_argument("--port", type=int, default=PORT, help="of 127.0.0.1; -1: none (%(default)s)")
    serve.add_argument("--mib", type=int, default=2048, help="MiB of records to keep (%(default)s)")
    serve.add_argument("--days", type=int, default=30, help="days to keep them (%(default)s)")
    invite.add_argument("--role", choices=["reader", "admin"], default="admin", help="(%(default)s)")
    invite.add_argument("--json", action="store_true", help="print token and port as JSON")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    given = _parser().parse_args(words)
    try:
        {"record": _record, "serve": _serve, "invite": _invite}[given.command](given)
    except KmodlabError as error:
        print(f"kmodlabd: {error}", file=sys.stderr)
        return error.status
    return 0


def _log() -> None:
    """Log to standard error; under systemd the journal has the time."""
    when = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(level=logging.INFO, format=f"{when}%(levelname)s %(name)s: %(message)s")


def _record(given: argparse.Namespace) -> None:
    from .kernel import KernelFeed  # noqa: PLC0415  # each command takes what it needs: a guest may be slow
    from .recording import record  # noqa: PLC0415

    _log()
    record(given.folder, given.recorder, KernelFeed())


def _serve(given: argparse.Namespace) -> None:
    from .retention import DAY, Keep  # noqa: PLC0415
    from .serving import Places, serve  # noqa: PLC0415

    _log()
    port = None if given.port < 0 else given.port
    places = Places(given.folder, given.recorder, given.socket, port)
    serve(places, Keep(bytes=given.mib << 20, records=given.days * DAY))


def _invite(given: argparse.Namespace) -> None:
    from .invite import invite, port  # noqa: PLC0415

    told = {"token": invite(given.socket, given.role), "port": port(given.socket)}
    if given.json:
        print(json.dumps(told))
    elif told["port"]:
        print("http://127.0.0.1:{port}/#token={token}".format(**told))
        print("It opens once, within ten minutes, on this machine. From another one, first there:", file=sys.stderr)
        print("  ssh -L {port}:127.0.0.1:{port} {node}".format(**told, node=os.uname().nodename), file=sys.stderr)
    else:
        print(told["token"])


def program() -> None:
    """Be the program."""
    sys.exit(main())
