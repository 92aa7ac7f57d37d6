# shellcheck shell=bash
# What the rows of the benchmark have in common; sourced by the script that `harness.script` makes of each.

OUT=/dev/shm/bench
pid=

# The entry point of a system call, by the name that ftrace has for it.
entry() {
	grep -m1 -oE "^__(x64_sys|arm64_sys|do_sys)_$1\$" /sys/kernel/tracing/available_filter_functions
}

# Audit that is switched off goes on to cost each call, but of tasks that it was told never to look at.
silence_audit() {
	auditctl -D >/dev/null
	auditctl -e 0 >/dev/null
	auditctl -a task,never
}

# A file that a reader writes to is as long now as it was half a second ago.
steady() {
	local before after
	before=$(stat -c %s "$1" 2>/dev/null)
	sleep 0.5
	after=$(stat -c %s "$1" 2>/dev/null)
	[ "$before" = "$after" ]
}

# wait_until WHAT CONDITION: for two minutes at most, and no longer than the program $pid runs
wait_until() {
	local end=$((SECONDS + 120))
	until eval "$2"; do
		if ! kill -0 "$pid" 2>/dev/null; then
			echo "error it ended before it was $1: $(tail -n 3 $OUT/err | tr '\n' ' ')"
			exit 1
		fi
		if [ $SECONDS -ge $end ]; then
			echo "error it was not $1 within two minutes: $(tail -n 3 $OUT/err | tr '\n' ' ')"
			exit 1
		fi
		sleep 0.1
	done
}

# end SIGNAL: end the program $pid, and wait for it
end() {
	[ -z "$pid" ] && return
	kill -s "$1" "$pid" 2>/dev/null
	local tries=1200
	while kill -0 "$pid" 2>/dev/null; do
		tries=$((tries - 1))
		[ $tries = 0 ] && kill -s KILL "$pid"
		sleep 0.1
	done
	wait "$pid" 2>/dev/null
	pid=
}
