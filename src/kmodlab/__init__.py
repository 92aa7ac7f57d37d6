"""kmodlab: a kernel-module lab. Real virtual machines, Ansible, and tests for out-of-tree Linux modules."""

# Written down, as a collection carries the package without installing it; a test holds it against pyproject.toml.
__version__ = "1.0.0"
