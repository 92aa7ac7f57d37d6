"""What the contract tests say to a machine, as far as that is decided here."""

from __future__ import annotations

from kmodlab.contract.script import nonce


def test_no_two_nonces_of_a_run_are_alike() -> None:
    """They are short, for a command name has 15 bytes: by chance alone some of so many would be."""
    names = [nonce("a long name indeed") for _ in range(20_000)]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {15}
