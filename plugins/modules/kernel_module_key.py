#!/usr/bin/python
"""Ansible module: the key that a machine's kernel modules are signed with, and whether the machine trusts it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_module_key
short_description: The key that a machine's kernel modules are signed with
description:
  - Takes the key in O(folder), else the machine's own (that of Ubuntu's shim-signed or of dkms, which may be enrolled
    already), else makes one in O(folder).
options:
  folder:
    description: Where C(MOK.priv) and C(MOK.der) are, or are made, for root alone.
    type: path
    required: true
  subject:
    description:
      - The common name of a certificate that is made. Of more than 64 characters, which X.509 allows, the beginning is
        taken, and a checksum of the whole.
    type: str
    required: true
author: kmodlab
"""

EXAMPLES = r"""
- name: Look for the key, or make one
  kmodlab.lab.kernel_module_key:
    folder: /var/lib/kmodlab/mok
    subject: module signing key of {{ inventory_hostname }}
  register: key
"""

RETURN = r"""
private: {description: The file of the private key., type: str, returned: always}
certificate: {description: "The file of the certificate, DER.", type: str, returned: always}
fingerprint: {description: "SHA-256 of the certificate, empty if a check would make it.", type: str, returned: always}
enrolled: {description: Whether the firmware's lists have the certificate., type: bool, returned: always}
pending: {description: Whether its enrolment waits to be confirmed at the next start., type: bool, returned: always}
"""

#: below it are the machine's own keys, and what its firmware knows
ROOT = Path("/")
_MACHINES_OWN = (
    ("var/lib/shim-signed/mok/MOK.priv", "var/lib/shim-signed/mok/MOK.der"),
    ("var/lib/dkms/mok.key", "var/lib/dkms/mok.pub"),
)
_VARIABLES = ("sys/firmware/efi/efivars", "sys/firmware/efi/mok-variables")
#: for modules only: shim starts nothing that is signed by a key with this usage. Source: shim, `OID_EKU_MODSIGN`.
_USAGE = "extendedKeyUsage=codeSigning,1.3.6.1.4.1.2312.16.1.2"
#: characters that a common name may have. Source: X.520, `ub-common-name`.
_LONGEST = 64


def listed(certificate: bytes, pattern: str, root: Path) -> bool:
    """Return whether a certificate is in one of the firmware's variables whose names match `pattern`."""
    files = [file for folder in _VARIABLES for file in (root / folder).glob(pattern)]
    return any(certificate in file.read_bytes() for file in files)


def find(folder: Path, root: Path = ROOT) -> tuple[Path, Path] | None:
    """Return the first pair of key and certificate that is there: that in the folder, else the machine's own."""
    own = [(root / key, root / certificate) for key, certificate in _MACHINES_OWN]
    for pair in ((folder / "MOK.priv", folder / "MOK.der"), *own):
        if all(file.exists() for file in pair):
            return pair
    return None


def common_name(subject: str) -> str:
    """Return `subject` as a certificate can have it, so that two that differ are told apart after that too.

    Raises:
        ValueError: nothing is left of it.
    """
    printable = "".join(character if character.isprintable() else " " for character in subject)
    name = " ".join(printable.split())
    if not name:
        raise ValueError("subject is empty: the certificate of a signing key needs a name")
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - len(digest) - 1]}~{digest}"


def distinguished(name: str) -> bytes:
    """Return a common name as openssl wants it after -subj, where a slash, a plus and an equals sign have a meaning."""
    # As bytes: what the machine's locale would make of it is not always UTF-8.
    return b"/CN=" + re.sub(r"([\\/+=])", r"\\\1", name).encode()


def make(folder: Path, subject: str) -> None:
    """Make a key and its certificate for root alone; both are there or none is.

    Raises:
        OSError: openssl is not installed, or the folder cannot be written.
        ValueError: the subject is empty.
        subprocess.CalledProcessError: openssl failed.
    """
    name = distinguished(common_name(subject))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = [folder / "MOK.priv.new", folder / "MOK.der.new"]
    options = ["-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500", "-utf8"]
    for extension in ("basicConstraints=critical,CA:FALSE", "keyUsage=digitalSignature", _USAGE):
        options += ["-addext", extension]
    os.umask(0o077)
    command = ["openssl", "req", *options, "-outform", "DER", "-keyout", str(fresh[0]), "-out", str(fresh[1])]
    subprocess.run([*command, "-subj", name], check=True, capture_output=True, text=True, errors="replace")
    for file in fresh:
        file.rename(file.with_suffix(""))


def state(private: Path, certificate: Path, root: Path = ROOT) -> dict[str, object]:
    """Return what the role needs to know of a key.

    Raises:
        ValueError: the certificate is not in DER.
    """
    content = certificate.read_bytes()
    if not content.startswith(b"\x30"):
        raise ValueError(f"the certificate {certificate} is not in DER: `openssl x509 -outform DER` makes it so")
    return {
        "private": str(private),
        "certificate": str(certificate),
        "fingerprint": hashlib.sha256(content).hexdigest(),
        "enrolled": listed(content, "MokListRT*", root) or listed(content, "db-d719b2cb-*", root),
        "pending": listed(content, "MokNew-*", root),
    }


def main() -> None:
    """Answer Ansible."""
    required = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={"folder": {"type": "path", "required": True}, "subject": required}, supports_check_mode=True
    )
    folder = Path(module.params["folder"])
    pair, changed = find(folder), False
    if not pair:
        changed, pair = True, (folder / "MOK.priv", folder / "MOK.der")
        if module.check_mode:
            nothing = {"private": str(pair[0]), "certificate": str(pair[1]), "fingerprint": ""}
            module.exit_json(changed=True, enrolled=False, pending=False, **nothing)
    try:
        if changed:
            make(folder, module.params["subject"])
        module.exit_json(changed=changed, **state(*pair))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"openssl could not make a key in {folder}: {error.stderr.strip()}")
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} is not there: the package openssl makes keys")
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
