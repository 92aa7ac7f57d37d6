"""The contract tests: what docs/abi.md promises, checked from outside on any host that carries the modules."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the tests are, for who runs them: pytest is given a path."""
