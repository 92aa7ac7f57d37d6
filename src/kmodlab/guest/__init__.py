"""Guests: real virtual machines under QEMU, their images, snapshots and consoles."""

from kmodlab.guest.guest import Guest, list_guests

__all__ = ["Guest", "list_guests"]
