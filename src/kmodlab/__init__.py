"""kmodlab: a kernel-module lab. Real virtual machines, Ansible, and tests for out-of-tree Linux modules."""

from importlib.metadata import version

__version__ = version("kmodlab")
