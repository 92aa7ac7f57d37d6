#!/bin/sh
# Bound over uname in the sandbox: Makefiles ask it for the kernel to build for, which is the guest's and not the host's.
case $* in
-r) echo "$KMODLAB_KERNEL" ;;
*) exec /usr/bin/uname "$@" ;;
esac
