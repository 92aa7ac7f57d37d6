"""Contract tests: what docs/abi.md promises, checked from outside on any host that carries the modules."""
