"""Tests that need no virtual machine."""
