"""Grading a class: every submission in a throw-away machine of its own, and a fair gradebook at the end."""
