"""A small apt archive of the tests' own: suites of a few packages, signed by a key of the moment, on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path

from kmodlab.image.places import host_release

#: by name alone what every system begins with; the file itself is not there
PACKAGES = b"""Package: base-files
Essential: yes
Version: 1
Architecture: all
Filename: pool/base-files_1_all.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: the first that is asked for

"""


class Key:
    """A pair of keys.

    Args:
        home: a directory that is not there yet, for GnuPG.
    """

    def __init__(self, home: Path) -> None:
        self.public = home / "public.gpg"
        self._home = home
        home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "archive@test.example", "ed25519", "sign", "never")
        self._gpg("--output", str(self.public), "--export")

    def armoured(self) -> Path:
        """Return the public key's file in ASCII; its name does not say so."""
        file = self._home / "armoured.key"
        self._gpg("--yes", "--output", str(file), "--armor", "--export")
        return file

    def sign(self, release: Path) -> None:
        """Write InRelease beside a Release file."""
        signed = release.with_name("InRelease")
        signed.unlink(missing_ok=True)
        self._gpg("--output", str(signed), "--clearsign", str(release))

    def forget(self) -> None:
        """End the agent that GnuPG started."""
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], check=True)

    def _gpg(self, *arguments: str) -> None:
        subprocess.run(["gpg", "--homedir", self._home, "--quiet", "--batch", *arguments], check=True)


class Archive:
    """The archive's files, and what was asked of it.

    Attributes:
        root: its directory.
        asked: the paths that were asked for, in order.
        upstream: the address of another archive, for files that are not here.
        url: its address, once it is served.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.upstream = ""
        self.url = ""

    def add(self, suite: str, key: Key, packages: dict[str, bytes]) -> None:
        """Make a suite, signed by a key; `packages` are its components' indexes."""
        directory = self.root / "dists" / suite
        architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        lines = []
        for component, index in packages.items():
            name = f"{component}/binary-{architecture.stdout.strip()}/Packages"
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(index)
            lines.append(f" {hashlib.sha256(index).hexdigest()} {len(index)} {name}")
        fields = {
            "Origin": "Ubuntu",
            "Suite": suite,
            "Codename": suite,
            "Date": formatdate(usegmt=True).replace("GMT", "UTC"),
            "Architectures": architecture.stdout.strip(),
            "Components": " ".join(packages),
            "SHA256": "\n" + "\n".join(lines),
        }
        (directory / "Release").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
        key.sign(directory / "Release")

    def stand_in(self, name: str, depends: str) -> bytes:
        """Build an empty package that depends on another; return its paragraph of the index."""
        fields = f"Package: {name}\nVersion: 9999\nArchitecture: all\nMaintainer: tests\nDepends: {depends}\n"
        control = self.root / f"{name}/DEBIAN/control"
        control.parent.mkdir(parents=True)
        control.write_text(f"{fields}Description: stand-in\n")
        file = self.root / f"pool/{name}.deb"
        file.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", self.root / name, file], stdout=subprocess.DEVNULL, check=True)
        content = file.read_bytes()
        where = f"Filename: pool/{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        return f"{fields}{where}Description: stand-in\n".encode()

    @contextlib.contextmanager
    def served(self) -> Iterator[Archive]:
        """Serve it on a free port of the loopback address."""
        handler = partial(_Handler, archive=self)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def host_packages() -> tuple[str, list[bytes]]:
    """Return the address of the archive that the host's own release comes from, and its index's paragraphs."""
    release = host_release().codename
    form = "$(RELEASE)|$(REPO_URI)|$(FILENAME)"
    targets = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main"]
    lines = subprocess.run(targets, capture_output=True, text=True, check=True).stdout.splitlines()
    url, index = next(line.split("|")[1:] for line in lines if line.startswith(f"{release}|"))
    text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", index], capture_output=True, check=True).stdout
    return url, [paragraph + b"\n" for paragraph in text.split(b"\n\n") if paragraph.strip()]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, archive: Archive) -> None:
        self._archive = archive
        super().__init__(*arguments, directory=os.fspath(archive.root))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Note the path, and answer."""
        self._archive.asked.append(self.path.lstrip("/"))
        if (
            self._archive.upstream
            and self.path.startswith("/pool/")
            and not Path(self.translate_path(self.path)).exists()
        ):
            self.send_response(302)
            self.send_header("Location", self._archive.upstream.rstrip("/") + self.path)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""
