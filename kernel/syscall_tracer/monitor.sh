#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Shows what syscall_tracer records, refreshed until Ctrl-C (or q).

set -u

file=/proc/syscall_tracer
interval=2
count=0
only_call=
only_pid=
rows=15
screen=
terminal=

usage() {
	cat <<-USAGE
	Usage: ${0##*/} [-n SECONDS] [-c COUNT] [-s SYSCALL] [-p PID]

	  -n SECONDS  time between two refreshes (default $interval)
	  -c COUNT    leave after COUNT refreshes; "once" is 1
	  -s SYSCALL  show calls of this system call only
	  -p PID      show calls of this process only
	  -h          this help

	Exit status: 0, 2 wrong usage, 3 module not loaded, 4 not permitted.
	USAGE
}

die() {
	leave_screen
	echo "${0##*/}: $2" >&2
	exit "$1"
}

parse_options() {
	while getopts n:c:s:p:h option; do
		case $option in
		n) interval=$OPTARG ;;
		c) count=${OPTARG/#once/1} ;;
		s) only_call=$OPTARG ;;
		p) only_pid=$OPTARG ;;
		h) usage; exit 0 ;;
		*) usage >&2; exit 2 ;;
		esac
	done
	shift $((OPTIND - 1))
	[ $# -eq 0 ] || { usage >&2; exit 2; }
	[[ $interval =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)$ && $interval =~ [1-9] ]] ||
		die 2 "-n: not a time: $interval"
	[[ $count =~ ^[0-9]+$ ]] || die 2 "-c: not a number: $count"
	[[ -z $only_pid || $only_pid =~ ^[0-9]+$ ]] ||
		die 2 "-p: not a PID: $only_pid"
}

check_access() {
	[ -e "$file" ] ||
		die 3 "syscall_tracer is not loaded: there is no $file"
	[ -r "$file" ] ||
		die 4 "$file: permission denied (try as root)"
}

# One pass over one picture of the log.
summary() {
	awk -v call="$only_call" -v pid="$only_pid" -v rows="$rows" '
	function wanted() {
		return (call == "" || $1 == call) && (pid == "" || $2 == pid)
	}
	part == "" && /^-----/ { part = "rows"; next }
	part == "rows" && NF == 0 { part = "counters"; next }
	part == "rows" && wanted() {
		recent[shown++ % rows] = $0
		calls[$1]++
		if ($4 == "BLOCKED")
			blocked[$1]++
	}
	part == "" && $1 == "Syscall" { header = $0 }
	part == "counters" && /^Active Filters:/ { part = "filters"; next }
	part == "counters" && NF { counters = counters "  " $0 }
	part == "filters" && !/^=+$/ { filters = filters "  " $0 "\n" }
	END {
		print "Recent calls:"
		print "  " header
		for (i = shown > rows ? shown - rows : 0; i < shown; i++)
			print "  " recent[i % rows]
		print "\nCalls in the log:"
		fflush()
		for (name in calls)
			printf "  %-16s %8d  %8d blocked\n", name,
			       calls[name], blocked[name] | "sort -k2,2nr"
		close("sort -k2,2nr")
		print "\nCounters:\n" counters
		printf "\nActive filters:\n%s", filters
	}' "$file"
}

page() {
	local picture
	picture=$(summary) || return
	printf 'syscall_tracer on %s, %s%s%s\n\n' "$(uname -n)" "$(date +%T)" \
		"${only_call:+, only $only_call}" "${only_pid:+, only PID $only_pid}"
	printf '%s\n' "$picture"
	printf '\nKernel log:\n'
	dmesg 2>/dev/null | grep 'syscall_tracer: ' | tail -n 5 | sed 's/^/  /'
}

on_terminal() {
	[ -t 1 ] && [ -n "${TERM:-}" ] && [ "$TERM" != dumb ]
}

# The alternate screen, without a cursor; and back, before the last words.
enter_screen() {
	on_terminal || return
	[ -t 0 ] && terminal=$(stty -g)
	screen=alternate
	printf '\033[?1049h\033[?25l'
}

leave_screen() {
	[ -n "$screen" ] || return
	screen=
	printf '\033[?25h\033[?1049l'
	[ -z "$terminal" ] || stty "$terminal"
}

# Clears what is left of each line and of the screen instead of all of it first:
# no flicker.
draw() {
	if on_terminal; then
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

run() {
	local done=0 text
	while :; do
		check_access
		text=$(page) || die 4 "cannot read $file"
		draw "$text"
		done=$((done + 1))
		[ "$done" -eq "$count" ] && return
		pause || return 0
	done
}

parse_options "$@"
check_access
if [ "$count" -ne 1 ]; then
	trap 'leave_screen' EXIT
	trap 'exit 0' INT TERM HUP
	enter_screen
fi
run
