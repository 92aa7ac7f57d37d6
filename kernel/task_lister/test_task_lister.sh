#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Self test of task_lister, on a machine with the module loaded. One PASS or
# FAIL line a test, SKIP where this user may not look; exits with 1 if one
# failed.

set -u

list=/proc/task_lister
detail=/proc/task_detail
stats=/proc/task_stats
tree=/proc/task_tree
rule=$(printf '%0132d' 0 | tr 0 =)
edge='===================='
work=
children=()
passed=0
failed=()

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
	failed+=("$1")
}

# same NAME EXPECTED SEEN
same() {
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1" "expected '$2', saw '$3'"
	fi
}

# check NAME COMMAND...: the command decides.
check() {
	local name=$1
	shift
	if "$@"; then pass "$name"; else fail "$name" "$*"; fi
}

# within SECONDS COMMAND...: until the command succeeds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# Waited for, or the shell would tell of their end.
end() {
	{
		kill -KILL "$@"
		wait "$@"
	} 2>/dev/null
}

clean_up() {
	[ ${#children[@]} -eq 0 ] || end "${children[@]}"
	rm -rf "$work"
}

# The row of one process, and one column of it.
row() {
	awk -v pid="$1" '$1 == pid && NF >= 9' "$list"
}

column() {
	row "$1" | awk -v n="$2" '{ print $n }'
}

has_state() {
	[ "$(column "$1" 4)" = "$2" ]
}

has_command() {
	[ "$(column "$1" 3)" = "$2" ]
}

rows() {
	awk '$1 ~ /^[0-9]+$/ && NF >= 9' "$list"
}

status() {
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

test_files() {
	local file
	for file in "$list" "$stats" "$tree"; do
		same "$file is for everybody to read" 444 "$(stat -c %a "$file")"
	done
	check "$detail is for root to read, or for everybody" has_mode "$detail" '4(00|44)'
	check 'nothing can be written' refuses_writing
}

has_mode() {
	stat -c %a "$1" | grep -qxE "$2"
}

refuses_writing() {
	! { echo 1 >"$list"; } 2>/dev/null
}

test_list_format() {
	cat "$list" >"$work/list"
	same 'list: title' "$edge LINUX KERNEL TASK LISTER $edge" \
		"$(sed -n 1p "$work/list")"
	same 'list: header' \
		'PID PPID COMMAND STATE VM(KB) RSS(KB) THREADS UID GID' \
		"$(sed -n '2s/  */ /gp' "$work/list")"
	same 'list: first rule' "$rule" "$(sed -n 3p "$work/list")"
	same 'list: last rule' "$rule" "$(tail -n 3 "$work/list" | head -n 1)"
	same 'list: rows of nine columns, by PID, none twice' '' "$(
		sed '1,3d' "$work/list" | head -n -3 |
			awk 'NF != 9 || $1 <= last { print } { last = $1 }')"
	same 'list: total' "Total processes listed: $(
		sed '1,3d' "$work/list" | head -n -3 | wc -l)" \
		"$(tail -n 2 "$work/list" | head -n 1)"
	same 'list: page size' "Page size: $(getconf PAGE_SIZE) bytes" \
		"$(tail -n 1 "$work/list")"
	check 'list: PID 1' grep -q '^[[:space:]]*1[[:space:]]' "$work/list"
}

# Those that were there before and are there after are in it.
test_complete() {
	printf '%s\n' /proc/[0-9]* | sort >"$work/before"
	rows | sed 's|^|/proc/|; s/ .*//' | sort >"$work/seen"
	printf '%s\n' /proc/[0-9]* | sort >"$work/after"
	same 'list: every process of /proc' '' "$(
		comm -12 "$work/before" "$work/after" |
			comm -23 - "$work/seen" | tr '\n' ' ')"
}

test_fields() {
	local pid uid gid
	sleep 1000 &
	pid=$!
	children+=("$pid")
	within 10 has_state "$pid" SLEEPING
	read -r uid _ < <(status "$pid" Uid)
	read -r gid _ < <(status "$pid" Gid)
	same 'list: a process as /proc shows it' \
		"$pid $$ sleep SLEEPING $(status "$pid" Threads) $uid $gid" \
		"$(row "$pid" | awk '{ print $1, $2, $3, $4, $7, $8, $9 }')"
	near 'list: VM' "$(status "$pid" VmSize)" "$(column "$pid" 5)"
	near 'list: RSS' "$(status "$pid" VmRSS)" "$(column "$pid" 6)"
}

# near NAME "EXPECTED kB" SEEN: by 10 % or a megabyte.
near() {
	local expected=${2% kB} gap
	gap=$((expected > $3 ? expected - $3 : $3 - expected))
	check "$1 as /proc shows it: $expected, $3" \
		[ "$gap" -le $((expected / 10 + 1024)) ]
}

test_states() {
	local pid
	sleep 1000 &
	pid=$!
	children+=("$pid")
	kill -STOP "$pid"
	check 'state STOPPED' within 10 has_state "$pid" STOPPED
	kill -CONT "$pid"
	check 'state SLEEPING' within 10 has_state "$pid" SLEEPING
	while :; do :; done &
	pid=$!
	children+=("$pid")
	check 'state RUNNING' within 10 has_state "$pid" RUNNING
	end "$pid"
	test_zombie
}

# A child that its parent, once it has become sleep, never waits for.
test_zombie() {
	local parent pid
	(
		sleep 1000 &
		echo $! >"$work/zombie"
		exec sleep 1000
	) &
	parent=$!
	children+=("$parent")
	within 10 has_command "$parent" sleep
	pid=$(<"$work/zombie")
	kill -KILL "$pid"
	check 'state ZOMBIE' within 10 has_state "$pid" ZOMBIE
	same 'a zombie has no memory and one thread' '0 0 1' \
		"$(row "$pid" | awk '{ print $5, $6, $7 }')"
}

# named NAME: a new child of this name, that of its file; its PID is in $named.
named() {
	ln -s "$(command -v sleep)" "$work/$1"
	"$work/$1" 1000 &
	named=$!
	children+=("$named")
}

test_names() {
	local named expected
	named $'a b\t\\'
	expected='a\040b\011\134'
	check "name $expected" within 10 has_command "$named" "$expected"
	named $'1\n2 3\e[2J'
	expected='1\0122\0403\033[2J'
	check "name $expected" within 10 has_command "$named" "$expected"
	check "name $expected in the tree" \
		grep -qF "$expected($named)" "$tree"
	check "name $expected in detail" \
		grep -qF "  Command: $expected" "$detail"
	named $'\303\251'
	expected='\303\251'
	check "name $expected" within 10 has_command "$named" "$expected"
}

# However small the buffer, what is printed has the same form.
test_small_reads() {
	local size
	for size in 1 7 4095; do
		dd if="$list" bs="$size" status=none >"$work/small"
		same "list in reads of $size: its total" \
			"Total processes listed: $(grep -c '^[0-9]' "$work/small")" \
			"$(grep ^Total "$work/small")"
		same "list in reads of $size: this shell, once" 1 \
			"$(grep -c "^$$ " "$work/small")"
	done
}

test_detail() {
	local keys='Command|State|Parent PID|UID|Virtual Memory'
	keys+='|Resident Memory \(RSS\)|Number of Threads|Priority|Nice Value|CPU'
	keys+='|Start Time|User Time|System Time|Voluntary Switches'
	keys+='|Involuntary Switches|Scheduling Policy'
	same 'detail: title' "$edge DETAILED TASK INFORMATION $edge" \
		"$(head -n 1 "$detail")"
	sed -n "/^PID: $$\$/,/^\$/p" "$detail" >"$work/block"
	same 'detail: sixteen lines of this shell' 16 \
		"$(grep -cE "^  ($keys): " "$work/block")"
	check 'detail: parent' grep -qx "  Parent PID: $PPID" "$work/block"
}

# Counted from the list and by the module, with equally many processes.
stats_agree() {
	local counted
	counted=$(awk '
		$1 ~ /^[0-9]+$/ && NF >= 9 { n++; z += $4 == "ZOMBIE" }
		END { print z + 0, n }' "$list")
	[ "$counted" = "$(awk '
		$1 == "Zombie:" { z = $2 }
		$1 == "Total:" { print z, $2 }' "$stats")" ]
}

test_stats() {
	same 'stats: title' "$edge TASK STATISTICS $edge" \
		"$(head -n 1 "$stats")"
	check 'stats: as counted from the list' within 10 stats_agree
	same 'stats: the states sum up' '' "$(awk '
		/^  [A-Z][a-z]*: / && $1 != "Total:" { sum += $2 }
		$1 == "Total:" && $2 != sum { print sum, $2 }' "$stats")"
	check 'stats: memory' grep -qE \
		'^  Total Virtual Memory: [0-9]+ MB$' "$stats"
}

# Each row one generation at most below the row above it, siblings by PID.
test_tree() {
	cat "$tree" >"$work/tree"
	same 'tree: title' "$edge TASK TREE $edge" "$(head -n 1 "$work/tree")"
	same 'tree: total' \
		"Total processes listed: $(grep -c '([0-9]*)$' "$work/tree")" \
		"$(tail -n 1 "$work/tree")"
	same 'tree: generations and siblings' '' "$(awk '
		/\([0-9]+\)$/ {
			match($0, /^ */)
			depth = RLENGTH / 2
			pid = $0
			sub(/.*\(/, "", pid)
			if (depth > last + 1 || pid + 0 <= sibling[depth] + 0)
				print
			sibling[depth] = pid
			delete sibling[depth + 1]
			last = depth
		}' "$work/tree")"
	same 'tree: the parent of this shell' "$PPID" "$(parent_in_tree $$)"
}

parent_in_tree() {
	awk -v pid="$1" '
	/\([0-9]+\)$/ {
		match($0, /^ */)
		sub(/.*\(/, "")
		above[RLENGTH] = $0 + 0
		if ($0 + 0 == pid)
			print above[RLENGTH - 2]
	}' "$work/tree"
}

troubles() {
	dmesg | grep -cE 'WARNING:|BUG:|Oops|suspicious RCU|stall|sleeping function'
}

[ -e "$list" ] || die 3 "task_lister is not loaded: there is no $list"
[ -r "$list" ] || die 4 "$list: permission denied"
work=$(mktemp -d) || exit 1
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
troubles_before=$(troubles 2>/dev/null)

test_files
test_list_format
test_complete
test_fields
test_states
test_names
test_small_reads
test_detail
test_stats
test_tree
if dmesg >/dev/null 2>&1; then
	check 'no trouble in dmesg' [ "$(troubles)" -eq "$troubles_before" ]
else
	echo 'SKIP no trouble in dmesg: not permitted to read it'
fi

echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] || printf 'failed: %s\n' "${failed[@]}" >&2
[ ${#failed[@]} -eq 0 ]
