#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Self test of syscall_tracer, on a machine with the module loaded, as root.
# One PASS, FAIL or SKIP line a test; exits with 1 if one failed. The filters
# that it finds are put back.

set -u

file=/proc/syscall_tracer
stats=/proc/syscall_tracer_stats
work=
failed=0
passed=0

die() {
	echo "${0##*/}: $2" >&2
	exit "$1"
}

pass() {
	echo "PASS $1"
	passed=$((passed + 1))
}

fail() {
	echo "FAIL $1${2:+: $2}"
	failed=$((failed + 1))
}

# check NAME COMMAND...: the command decides.
check() {
	local name=$1
	shift
	if "$@"; then pass "$name"; else fail "$name" "$*"; fi
}

# put LINE...: all lines in ONE write; bash itself would write line by line.
put() {
	printf '%s\n' "$@" |
		LC_ALL=C dd of="$file" bs=1M iflag=fullblock status=none \
		2>"$work/error"
}

filters() {
	sed -n '/^Active Filters:/,$ { /^[^ ]*: \(BLOCK\|ALLOW\)/p; }' "$file"
}

as_commands() {
	sed 's/: BLOCK/ block/; t; s/: ALLOW/ allow/'
}

restore() {
	local commands
	mapfile -t commands <"$work/found"
	put clear "${commands[@]}" || echo "cannot restore the filters" >&2
	rm -rf "$work"
}

rows() {
	sed '1,/^-----/d; /^$/,$d' "$file"
}

counter() {
	sed -n "s/^$1: \\([0-9][0-9]*\\)\$/\\1/p" "$stats"
}

# as_pid COMMAND...: run it, with its PID in $pid.
as_pid() {
	# shellcheck disable=SC2016
	pid=$(sh -c 'echo $$; exec "$@" >/dev/null' sh "$@")
}

# saw PID PATTERN STATUS: is there such a row?
saw() {
	rows | awk -v pid="$1" -v call="$2" -v status="$3" '
		$2 == pid && $1 ~ "^(" call ")$" && $4 == status { n++ }
		END { exit !n }'
}

# unlink_is STATUS: remove a file; a busy log may lose the call: five attempts.
unlink_is() {
	local try
	for try in 1 2 3 4 5; do
		: >"$work/victim$try"
		as_pid rm -f "$work/victim$try"
		saw "$pid" 'unlink|unlinkat' "$1" && return
	done
	return 1
}

test_format() {
	check 'title' [ "$(sed -n 1p "$file")" = 'System Call Tracer Log' ]
	check 'first columns' [ "$(awk 'NR == 3 { print $1, $2, $3, $4 }' "$file")" \
		= 'Syscall PID Timestamp Status' ]
	for name in Issued Logged Overwritten Dropped Missed; do
		check "counter $name" [ -n "$(counter "$name")" ]
	done
	check 'filter section' grep -q '^Active Filters:$' "$file"
}

# over_rows PROGRAM: run awk on the rows of the copy, and its END on the rest.
over_rows() {
	awk '/^-----/ { in_rows = 1; next }
		in_rows && NF == 0 { in_rows = 0 }
		'"$1" "$work/copy"
}

total_is_right() {
	# shellcheck disable=SC2016
	over_rows 'in_rows { n++ }
		/^Total entries:/ { total = $3 }
		END { exit n != total }'
}

timestamps_are_ordered() {
	# shellcheck disable=SC2016
	over_rows 'in_rows && $3 + 0 < last { bad = 1 }
		in_rows { last = $3 + 0 }
		END { exit bad }'
}

statuses_are_known() {
	# shellcheck disable=SC2016
	over_rows 'in_rows && $4 !~ /^(ALLOWED|BLOCKED)$/ { bad = 1 }
		END { exit bad }'
}

test_rows() {
	cp "$file" "$work/copy"
	check 'Total entries is the number of rows' total_is_right
	check 'timestamps do not decrease' timestamps_are_ordered
	check 'status is ALLOWED or BLOCKED' statuses_are_known
}

test_bounded() {
	local entries cpus size=1
	entries=$(cat /sys/module/syscall_tracer/parameters/log_entries)
	while [ "$size" -lt "$entries" ]; do size=$((size * 2)); done
	cpus=$(getconf _NPROCESSORS_CONF)
	check 'the log is bounded' \
		[ "$(counter Logged)" -le $((size * cpus)) ]
}

test_calls() {
	local call try
	echo text >"$work/text"
	for call in 'open|openat|openat2' read write 'close|close_range'; do
		for try in 1 2 3 4 5; do
			as_pid cat "$work/text"
			saw "$pid" "$call" ALLOWED && break
			try=
		done
		check "records $call" [ -n "$try" ]
	done
	check 'records unlink' unlink_is ALLOWED
}

test_filters() {
	put clear 'unlink block'
	check 'block' unlink_is BLOCKED
	check 'block is in dmesg' grep -q "Blocked unlink\(at\)\?() from PID $pid\$" \
		<(dmesg)
	check 'block is listed' [ "$(filters)" = 'unlink: BLOCK' ]
	put 'unlink block'
	check 'block twice is one filter' [ "$(filters)" = 'unlink: BLOCK' ]
	check 'delete of another name is refused' refused ENOENT '=unlinkat delete'
	put 'unlink delete'
	check 'delete' unlink_is ALLOWED
	put '=unlinkat allow' 'unlink allow' 'unlink block'
	check 'the first filter that matches decides' unlink_is ALLOWED
	put clear
	put 'unlink block errno=EIO pid=1 comm=rm path=/tmp/'
	check 'predicates are listed' [ "$(filters)" = \
		'unlink: BLOCK errno=EIO pid=1 comm=rm path=/tmp/' ]
	check 'a predicate that does not match' unlink_is ALLOWED
	put clear
	check 'clear' grep -q '^No filters active$' "$file"
	check 'clear twice' put clear
	check 'comments and blank lines' put '# a comment' '' ' 	' 'read allow'
	check 'a filter after a comment' [ "$(filters)" = 'read: ALLOW' ]
	put clear
}

strerror() {
	case $1 in
	EINVAL) echo 'Invalid argument' ;;
	ENOENT) echo 'No such file or directory' ;;
	ENOSPC) echo 'No space left on device' ;;
	E2BIG) echo 'Argument list too long' ;;
	EPERM) echo 'Operation not permitted' ;;
	EACCES) echo 'Permission denied' ;;
	esac
}

# refused ERRNO LINE...: is the write refused, and nothing changed?
refused() {
	local errno=$1 before
	shift
	before=$(filters)
	! put "$@" && grep -q "$(strerror "$errno")" "$work/error" &&
		[ "$(filters)" = "$before" ]
}

# refused_file ERRNO FORMAT: likewise, for bytes that no variable can hold.
refused_file() {
	local before
	before=$(filters)
	# shellcheck disable=SC2059
	! printf "$2" | LC_ALL=C dd of="$file" bs=1M iflag=fullblock status=none \
		2>"$work/error" && grep -q "$(strerror "$1")" "$work/error" &&
		[ "$(filters)" = "$before" ]
}

test_refusals() {
	local word
	word=$(printf 'x%.0s' $(seq 64))
	put clear 'close allow'
	while IFS='|' read -r errno line; do
		check "$errno: $line" refused "$errno" "$line"
	done <<-TABLE
	EINVAL|unlink
	EINVAL|unlink forbid
	EINVAL|unlink BLOCK
	EINVAL|unlink block now
	EINVAL|unlink block errno=EWHAT
	EINVAL|unlink block errno=134
	EINVAL|unlink block pid=one
	EINVAL|unlink block pid=1 pid=1
	EINVAL|unlink block gid=1
	EINVAL|close block path=/tmp
	EINVAL|unlink delete all
	EINVAL|clear all
	EINVAL|trace
	EINVAL|untrace
	EINVAL|block
	EINVAL|unlink blöck
	ENOENT|nosuchcall block
	ENOENT|=nosuchcall allow
	ENOENT|UNLINK block
	ENOENT|unlink delete
	ENOENT|trace nosuchcall
	ENOENT|untrace nosuchcall
	ENOENT|trace getppid nosuchcall
	E2BIG|$word block
	E2BIG|unlink $word
	TABLE
	check 'EINVAL: a NUL' refused_file EINVAL '\0'
	check 'EINVAL: an escape' refused_file EINVAL 'unlink block\033[2J\n'
	check 'E2BIG: 4097 bytes' refused E2BIG "$(printf '%4096s' '')"
	check 'one bad line refuses all' refused ENOENT 'read block' 'nosuchcall block'
	put clear
}

# Some of the calls that every architecture has, two filters each: 130 of them.
some_filters() {
	local name
	for name in read pread64 readv preadv preadv2 write pwrite64 writev \
		pwritev pwritev2 openat openat2 close unlinkat renameat mkdirat \
		linkat symlinkat readlinkat fchmod fchmodat fchown fchownat \
		mknodat faccessat execve execveat clone dup dup3 pipe2 fstat \
		statx statfs fstatfs truncate ftruncate chdir fchdir lseek \
		getdents64 mmap munmap mprotect brk ioctl fcntl flock fsync \
		fdatasync sync getpid getppid gettid getuid geteuid getgid \
		getegid umask uname kill tkill tgkill socket bind; do
		printf '=%s block\n=%s allow\n' "$name" "$name"
	done
}

# The write fails as a whole, so that none of these calls gets traced.
test_too_many() {
	local lines
	mapfile -t lines < <(some_filters)
	check 'ENOSPC: 130 filters' refused ENOSPC "${lines[@]}"
}

test_trace() {
	local was=no
	as_pid uname
	saw "$pid" uname ALLOWED && was=yes
	check 'trace' put 'trace uname'
	check 'trace twice' put 'trace uname'
	as_pid uname
	check 'a traced call is recorded' saw "$pid" uname ALLOWED
	if [ $was = yes ]; then
		echo 'SKIP untrace: somebody traces uname'
		return
	fi
	check 'untrace' put 'untrace uname'
	as_pid uname
	check 'an untraced call is not recorded' [ "$(rows |
		awk -v pid="$pid" '$2 == pid && $1 == "uname"' | wc -l)" -eq 0 ]
}

test_access() {
	if ! command -v setpriv >/dev/null; then
		echo 'SKIP access: there is no setpriv'
		return
	fi
	# shellcheck disable=SC2016
	check 'EPERM without CAP_SYS_ADMIN' grep -q "$(strerror EPERM)" <(
		LC_ALL=C setpriv --bounding-set -sys_admin \
			sh -c 'echo clear | dd of="$0" status=none' "$file" 2>&1)
	# shellcheck disable=SC2016
	check 'EACCES for other users' grep -q "$(strerror EACCES)" <(
		LC_ALL=C setpriv --reuid 65534 --clear-groups dd if="$file" \
			of=/dev/null status=none 2>&1)
}

troubles() {
	dmesg | grep -cE 'WARNING:|BUG:|Oops|suspicious RCU|stall'
}

[ "$(id -u)" -eq 0 ] || die 4 'must be root'
for each in "$file" "$stats"; do
	[ -e "$each" ] || die 3 "syscall_tracer is not loaded: there is no $each"
done
work=$(mktemp -d) || exit 1
filters | as_commands >"$work/found"
trap restore EXIT
trap 'exit 1' INT TERM HUP

troubles_before=$(troubles)
put clear || die 4 "cannot write to $file: $(cat "$work/error")"
test_format
test_rows
test_bounded
test_calls
test_filters
test_refusals
test_too_many
test_trace
test_access
check 'no trouble in dmesg' [ "$(troubles)" -eq "$troubles_before" ]

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
