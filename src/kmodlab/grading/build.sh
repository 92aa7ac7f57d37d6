#!/bin/sh
# Runs inside the sandbox, see sandbox.py: builds the submission in /src, and prints a tar archive of the modules.
# What make says goes to standard error.
set -u
how=$1
kernel=/lib/modules/$(uname -r)/build
exec 3>&1 1>&2

cp -R /src/. /build || exit 70
cd /build || exit 70
built() { find . -name '*.ko' -type f | grep -q .; }

# The submission's own Makefile: the one nearest to the top.
place=$(find . -iname 'makefile' -type f | awk '{ print gsub("/", "/"), $0 }' | sort -n | sed -n '1s/^[0-9]* //p')
if [ "$how" = makefile ] && [ -n "$place" ]; then
	cd "$(dirname "$place")" || exit 70
	make KDIR="$kernel"
	status=$?
	# A first target that builds something else, a test program say: modules is what the field calls this one.
	[ $status -ne 0 ] || built || ! grep -q '^modules *:' [Mm]akefile ||
		make KDIR="$kernel" modules || status=$?
else
	place=$(find . -name '*.c' -type f ! -name '*.mod.c' | awk '{ print gsub("/", "/"), $0 }' | sort -n |
		sed -n '1s/^[0-9]* //p')
	[ -n "$place" ] || { echo "there is no C file" && exit 65; }
	cd "$(dirname "$place")" || exit 70
	rm -f Makefile makefile GNUmakefile
	# Each file that starts a module is one; user programs that came along are none.
	for file in *.c; do
		case $file in
		*[!A-Za-z0-9_.-]*) continue ;;
		esac
		! grep -Eq 'module_init|init_module' "$file" || echo "obj-m += ${file%.c}.o"
	done >Kbuild
	make -C "$kernel" M="$PWD" modules
	status=$?
fi
[ "$status" -eq 0 ] || exit "$status"
built || { echo "make succeeded, and there is no module (.ko)" && exit 66; }
cd /build && find . -name '*.ko' -type f -print0 | tar --create --no-recursion --null --files-from=- --file=- >&3
