#!/bin/sh
# Runs inside the sandbox, see sandbox.py: the image's own says that its container has to be set up otherwise.
echo "sudo: nobody is root here, and need not be: the grader loads the module" >&2
exit 1
