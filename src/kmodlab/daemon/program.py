"""The program `kmodlabd`: `record`, `serve`, `invite` and `key`, for systemd and for who manages the machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kmodlab.errors import KmodlabError

if TYPE_CHECKING:
    from .postgres import Address
    from .retention import Keep
    from .serving import Places

FOLDER = Path("/var/lib/kmodlab")
RECORDER = Path("/run/kmodlab/recorder/socket")
DASHBOARD = Path("/run/kmodlab/dashboard/socket")
HUB = Path("/run/kmodlab/hub/socket")
PORT = 8480


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kmodlabd", description="What the tracer sees, its history, and its page.")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="listen to the tracer, and write down what it sends")
    serve = commands.add_parser("serve", help="keep the history, and answer")
    hub = commands.add_parser("hub", help="show what a fleet's database has of all hosts, or of one")
    invite = commands.add_parser("invite", help="print the address of the page, which opens one session")
    key = commands.add_parser("key", help="print a new key for a program, which the server takes from now on")
    for one in (record, serve, hub, key):
        one.add_argument("--folder", type=Path, default=FOLDER, help="of the history (%(default)s)")
    for one in (record, serve):
        one.add_argument("--recorder", type=Path, default=RECORDER, help="socket between the two (%(default)s)")
    for one, at in ((serve, DASHBOARD), (hub, HUB), (invite, DASHBOARD)):
        one.add_argument("--socket", type=Path, default=at, help="socket for users (%(default)s)")
    for one in (serve, hub, key):
        one.add_argument("--keys", type=Path, help="file with what the keys of programs hash to (`keys` in the folder)")
    key.add_argument("name", help="of the program")
    _add_reach(serve)
    _add_reach(hub)
    hub.add_argument("--fleet", required=True, help="the database: a file that has its URL, or service=NAME")
    hub.add_argument("--host", help="show this host alone")
    serve.add_argument("--mib", type=int, default=2048, help="MiB of records to keep (%(default)s)")
    serve.add_argument("--days", type=int, default=30, help="days to keep them (%(default)s)")
    serve.add_argument("--fleet", help="copy the history into this database: a file that has its URL, or service=NAME")
    serve.add_argument("--fleet-mib", type=int, default=16384, help="MiB of records to keep there (%(default)s)")
    serve.add_argument("--fleet-days", type=int, default=366, help="days to keep them there (%(default)s)")
    for one, role in ((invite, "admin"), (key, "reader")):
        one.add_argument("--role", choices=["reader", "admin"], default=role, help="(%(default)s)")
    invite.add_argument("--json", action="store_true", help="print token and port as JSON")
    return parser


def _add_reach(serve: argparse.ArgumentParser) -> None:
    """Add the options that say how the server is reached."""
    serve.add_argument("--port", type=int, default=PORT, help="of the address; -1: none (%(default)s)")
    serve.add_argument("--address", default="127.0.0.1", help="to listen on; another one takes TLS (%(default)s)")
    serve.add_argument("--certificate", type=Path, help="file, PEM: speak TLS, but for the socket; takes --key")
    serve.add_argument("--key", type=Path, help="file, PEM, with the key of the certificate")
    serve.add_argument("--name", action="append", default=[], help="what browsers call this server; may be repeated")
    serve.add_argument("--path", default="", help="what a proxy in front takes off the path, as /lab/x")
    serve.add_argument(
        "--proxy", action="append", default=[], help="address whose X-Forwarded-* is believed; may be repeated"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    given = _parser().parse_args(argv)
    try:
        {"record": _record, "serve": _serve, "hub": _hub, "invite": _invite, "key": _key}[given.command](given)
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
    from .serving import serve  # noqa: PLC0415

    _log()
    serve(_places(given), Keep(bytes=given.mib << 20, records=given.days * DAY), _fleet(given))


def _hub(given: argparse.Namespace) -> None:
    from .postgres import address  # noqa: PLC0415
    from .serving import merge  # noqa: PLC0415

    _log()
    merge(_places(given), address(given.fleet), given.host)


def _places(given: argparse.Namespace) -> Places:
    from .reach import Reach  # noqa: PLC0415
    from .serving import Places  # noqa: PLC0415

    reach = Reach(
        None if given.port < 0 else given.port, given.address, tuple(given.name), given.path, tuple(given.proxy),
        given.certificate, given.key, given.keys,
    )  # fmt: skip
    return Places(given.folder, getattr(given, "recorder", RECORDER), given.socket, reach)


def _fleet(given: argparse.Namespace) -> tuple[Address, Keep] | None:
    """Return the fleet's database, and how much of this host it keeps."""
    if given.fleet is None:
        return None
    from .postgres import address  # noqa: PLC0415
    from .retention import DAY  # noqa: PLC0415
    from .shipper import KEEP  # noqa: PLC0415

    return address(given.fleet), replace(KEEP, bytes=given.fleet_mib << 20, records=given.fleet_days * DAY)


def _invite(given: argparse.Namespace) -> None:
    from .invite import invite, noted  # noqa: PLC0415

    port, scheme = noted(given.socket)
    told = {"token": invite(given.socket, given.role), "port": port, "scheme": scheme}
    if given.json:
        print(json.dumps(told))
    elif port:
        print("{scheme}://127.0.0.1:{port}/#token={token}".format(**told))
        print("It opens once, within ten minutes, on this machine. From another one, first there:", file=sys.stderr)
        print("  ssh -L {port}:127.0.0.1:{port} {node}".format(**told, node=os.uname().nodename), file=sys.stderr)
    else:
        print(told["token"])


def _key(given: argparse.Namespace) -> None:
    from .api.keys import FILE, made  # noqa: PLC0415

    file = given.keys or given.folder / FILE
    print(made(file, given.name, given.role))
    print(f"It is shown this once. The line of {given.name} in {file} taken out ends it.", file=sys.stderr)


def program() -> None:
    """Be the program."""
    sys.exit(main())
