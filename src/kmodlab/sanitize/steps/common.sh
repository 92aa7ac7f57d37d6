# What the steps have in common. Each of them is run behind this, by `sh -eu`.
# shellcheck shell=sh disable=SC2015

# A step that breaks leaves nothing running.
trap 'rm -f /run/calls /run/storm' EXIT

# Calls are made on two processors until `end_calls`.
begin_calls() {
	touch /run/calls
	for load in 1 2; do
		(while [ -e /run/calls ]; do mkdir /run/directory-$load && rmdir /run/directory-$load || :; done >/dev/null 2>&1) &
	done
}

end_calls() {
	rm /run/calls
	wait
}

# Whatever was issued is accounted for.
law() {
	awk '/^Issued:/ { issued = $2 } /^(Logged|Overwritten|Dropped):/ { found += $2 } END { exit issued != found }' \
		/proc/syscall_tracer_stats
}
