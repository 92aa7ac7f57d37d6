#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Shows the processes that task_lister lists, refreshed until Ctrl-C (or q).

set -u

file=/proc/task_lister
interval=2
count=0
pattern=
top=10
mode=monitor

usage() {
	cat <<-USAGE
	Usage: ${0##*/} [-n SECONDS] [-c COUNT] [-t ROWS] [-s PATTERN]
	       ${0##*/} --compare

	  -n SECONDS  time between two refreshes (default $interval)
	  -c COUNT    leave after COUNT refreshes; "once" is 1
	  -t ROWS     processes to show (default $top)
	  -s PATTERN  show processes whose PID is PATTERN or whose command matches
	              it (an extended regular expression); exit with 1 if the last
	              refresh found none
	  --compare   compare with ps, name the differences; exit with 1 if any
	  -h, --help  this help

	Exit status: 0, 1 nothing found or a difference, 2 wrong usage,
	3 module not loaded, 4 not permitted.
	USAGE
}

die() {
	echo "${0##*/}: $2" >&2
	exit "$1"
}

wrong_usage() {
	usage >&2
	exit 2
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--compare) mode=compare; shift; continue ;;
		-h | --help) usage; exit 0 ;;
		esac
		[ $# -ge 2 ] || wrong_usage
		case $1 in
		-n) interval=$2 ;;
		-c) count=${2/#once/1} ;;
		-t) top=$2 ;;
		-s) pattern=$2 ;;
		*) wrong_usage ;;
		esac
		shift 2
	done
}

check_options() {
	[[ $interval =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)$ && $interval =~ [1-9] ]] ||
		die 2 "-n: not a time: $interval"
	[[ $count =~ ^[0-9]+$ ]] || die 2 "-c: not a number: $count"
	[[ $top =~ ^[0-9]+$ ]] || die 2 "-t: not a number: $top"
	echo | grep -qE -e "$pattern" 2>/dev/null
	[ $? -ne 2 ] || die 2 "-s: not a regular expression: $pattern"
}

check_access() {
	[ -e "$file" ] ||
		die 3 "task_lister is not loaded: there is no $file"
	{ : <"$file"; } 2>/dev/null ||
		die 4 "$file: permission denied (try as root)"
}

# The processes of one reading, one a line.
rows() {
	awk '$1 ~ /^[0-9]+$/ && NF >= 9' "$file"
}

header() {
	printf '  %-8s %-8s %-20s %-12s %-10s %-10s %-8s %-8s %s\n' \
		PID PPID COMMAND STATE 'VM(KB)' 'RSS(KB)' THREADS UID GID
}

# Counts by state and memory totals of the rows on standard input.
summary() {
	awk '
	{
		states[$4]++
		vm += $5
		rss += $6
		threads += $7
	}
	END {
		printf "%d processes, %d threads:", NR, threads
		for (name in states)
			printf "  %s %d", name, states[name]
		printf "\nMemory: %.0f MB virtual, %.0f MB resident\n",
		       vm / 1024, rss / 1024
	}'
}

# In awk -v a backslash would be eaten, in the environment it is not.
matching() {
	PATTERN=$pattern awk '
	$1 == ENVIRON["PATTERN"] || $3 ~ ENVIRON["PATTERN"]'
}

page() {
	local all found
	all=$(rows) || return
	printf 'task_lister on %s, %s\n' "$(uname -n)" "$(date +%T)"
	summary <<<"$all"
	if [ -n "$pattern" ]; then
		found=$(matching <<<"$all")
		printf '\n%d match %s:\n' "$(grep -c . <<<"$found")" "$pattern"
	else
		found=$all
		printf '\nLargest in memory:\n'
	fi
	[ -n "$found" ] || return 1
	header
	sort -k6,6nr -k1,1n <<<"$found" | head -n "$top" | sed 's/^/  /'
}

on_terminal() {
	[ -t 1 ] && [ -n "${TERM:-}" ] && [ "$TERM" != dumb ]
}

# The alternate screen, without a cursor; and back.
enter_screen() {
	on_terminal && printf '\033[?1049h\033[?25l'
}

leave_screen() {
	on_terminal && printf '\033[?25h\033[?1049l'
}

# Clears what is left of each line and of the screen instead of all of it first:
# no flicker.
draw() {
	if on_terminal && [ "$count" -ne 1 ]; then
		printf '\033[H%s\033[J' "${1//$'\n'/$'\033[K\n'}"
	else
		printf '%s\n' "$1"
	fi
}

# Sleeps; fails when q is pressed.
pause() {
	local key=
	if [ -t 0 ]; then
		read -rsn 1 -t "$interval" key
		[ "$key" != q ]
	else
		sleep "$interval"
	fi
}

monitor() {
	local done=0 text found
	while :; do
		check_access
		text=$(page)
		found=$?
		draw "$text"
		done=$((done + 1))
		[ "$done" -eq "$count" ] && return "$found"
		pause || return "$found"
	done
}

# Both as TAG PID PPID STATE VM RSS THREADS UID GID COMMAND, STATE as in ps.
from_ps() {
	ps -eo pid=,ppid=,stat=,vsz=,rss=,nlwp=,ruid=,rgid=,comm= |
		awk -v tag="$1" '{ $3 = substr($3, 1, 1); print tag, $0 }'
}

from_list() {
	rows | awk '
	BEGIN {
		split("RUNNING R SLEEPING S DISK_SLEEP D STOPPED T TRACED t " \
		      "ZOMBIE Z DEAD X IDLE I PARKED P", pair, " ")
		for (i = 1; i in pair; i += 2)
			letter[pair[i]] = pair[i + 1]
	}
	{ print "list", $1, $2, letter[$4], $5, $6, $7, $8, $9, $3 }'
}

# Reads ps, the list and ps again; prints PID and field of each difference, then
# what both say. A process counts if ps shows it both times, a field if ps shows
# it alike both times. Of a name that ps decorates or replaces bytes in, only
# the plain beginning counts.
differences() {
	awk '
	function differ(pid, field, list, ps) {
		print pid, field ": task_lister " list ", ps " ps
	}
	function near(a, b,    gap) {
		gap = a > b ? a - b : b - a
		return gap <= 2048 || gap <= b / 10
	}
	function alike(i, list, ps) {
		if (i == 5 || i == 6)
			return near(list, ps)
		if (i == 10 && list ps !~ /^[A-Za-z0-9_.:\/-]+$/)
			return 1
		return i == 10 ? index(ps, list) == 1 : list == ps
	}
	BEGIN { split("- - PPID STATE VM(KB) RSS(KB) THREADS UID GID COMMAND", name) }
	{
		seen[$1, $2] = 1
		pids[$2] = 1
		for (i = 3; i <= 10; i++)
			value[$1, $2, i] = $i
	}
	END {
		for (pid in pids) {
			before = ("before", pid) in seen
			after = ("after", pid) in seen
			if (!(("list", pid) in seen)) {
				if (before && after)
					differ(pid, "PID", "lacks it", "has it")
				continue
			}
			if (!before && !after)
				differ(pid, "PID", "has it", "lacks it")
			for (i = 3; before && after && i <= 10; i++) {
				ps = value["before", pid, i]
				list = value["list", pid, i]
				if (ps == value["after", pid, i] && !alike(i, list, ps))
					differ(pid, name[i], list, ps)
			}
		}
	}'
}

compare_once() {
	{
		from_ps before
		from_list
		from_ps after
	} | differences
}

# What ps and the list say at slightly different times may differ; what they
# say three times running does.
compare() {
	local found again
	command -v ps >/dev/null || die 2 'there is no ps (package procps)'
	found=$(compare_once)
	for _ in 1 2; do
		[ -n "$found" ] || break
		again=$(compare_once)
		found=$(awk 'NR == FNR { still[$1, $2] = 1; next }
			($1, $2) in still' <(echo "$again") <(echo "$found"))
	done
	if [ -z "$found" ]; then
		echo "task_lister and ps agree on $(rows | wc -l) processes"
		return
	fi
	echo 'task_lister and ps differ:'
	sort -n <<<"$found" | sed 's/^/  PID /'
	return 1
}

parse_options "$@"
check_options
check_access
if [ "$mode" = compare ]; then
	compare
	exit
fi
if [ "$count" -ne 1 ]; then
	trap 'leave_screen' EXIT
	trap 'exit 0' INT TERM HUP
	enter_screen
fi
monitor
