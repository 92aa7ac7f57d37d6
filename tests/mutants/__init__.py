"""Deliberately broken modules, and the proof that the contract tests notice."""
