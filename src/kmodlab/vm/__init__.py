"""Machines: a QEMU process, its state, its console, and the ways into it."""
