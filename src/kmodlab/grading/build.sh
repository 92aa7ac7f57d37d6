#!/bin/sh
# Runs inside the sandbox, see sandbox.py: builds the submission in /src, and prints a line that says how, then a tar
# archive of the modules. What make says goes to standard error. No program of the submission's has the standard output.
set -u
how=$1
place=$2
kernel=/lib/modules/$(uname -r)/build
exec 3>&1 1>&2

cp -R /src/. /build || exit 70
cd "/build/$place" || exit 70
built() { find . -name '*.ko' -type f | grep -q .; }
# What a Makefile has left running ends with it: what is built next, or packed, would depend on it.
run() {
	make "$@" 3>&-
	made=$?
	kill -9 -1 2>/dev/null
	return $made
}
alone() { run -C "$kernel" M="$PWD" modules; }
names_modules() { cat Kbuild Makefile 2>/dev/null | grep -q 'obj-[m$]'; }

# Ours, over their C files: each that starts a module is one; user programs that came along are none.
ours() {
	rm -f Makefile makefile GNUmakefile
	for file in *.c; do
		case $file in
		*[!A-Za-z0-9_.+-]*) continue ;;
		esac
		! grep -Eq 'module_init|init_module|module_[a-z0-9_]*driver' "$file" || echo "obj-m += ${file%.c}.o"
	done >Kbuild
	alone
}

# Theirs. What it makes besides may fail, its first target may build something else, and its kernel be another one: then
# kbuild itself is asked, which reads which modules there are from the same file.
theirs() {
	run KDIR="$kernel"
	status=$?
	built && return
	if [ $status -eq 0 ] && grep -q '^modules *:' Makefile; then
		run KDIR="$kernel" modules && built && return
	fi
	names_modules || {
		how=none
		[ $status -ne 0 ] || ours
		return
	}
	how=alone
	echo "--- the module alone: make -C $kernel M=\$PWD modules ---"
	alone
	second=$?
	[ $second -eq 0 ] && ! built || status=$second
}

if [ "$how" = makefile ] && [ -f Makefile ]; then
	how="make"
	theirs
elif [ "$how" = makefile ] && names_modules; then
	how=kbuild
	alone
	status=$?
else
	ls ./*.c >/dev/null 2>&1 || {
		below=$(find . -name '*.c' | head -n 1)
		echo "there is no C file${below:+ beside a Makefile or Kbuild, which would say how $below is built}"
		exit 65
	}
	how=ours
	ours
	status=$?
fi
if ! built; then
	[ "$status" -eq 0 ] || exit "$status"
	echo "make succeeded, and there is no module (.ko)"
	exit 66
fi
cd /build || exit 70
echo "$how $status" >&3
find . -name '*.ko' -type f -print0 | tar --create --no-recursion --null --files-from=- --file=- >&3
