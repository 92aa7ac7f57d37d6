"""Readers of what the modules show, in any layout, and the words in which a test tells what it saw instead.

`tracer_page.py` is strict, to the byte, until `--any-layout` is given; `task_layout.py`, one folder up, always is.
"""
