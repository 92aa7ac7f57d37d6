# A 32-bit program makes its calls ROUNDS times, on both processors, under each hook, with return values and without.
# shellcheck shell=sh disable=SC2154
for given in "hook=ftrace" "hook=kprobe" "hook=ftrace returns=1" "hook=kprobe returns=1"; do
	# shellcheck disable=SC2086 # two parameters
	insmod /root/syscall_tracer.ko $given
	echo "trace mkdir rmdir connect" >/proc/syscall_tracer
	echo "mkdir block path=/run/directory errno=EXDEV" >/proc/syscall_tracer
	echo 1 >/sys/module/syscall_tracer/parameters/enforce
	for _ in $(seq "$ROUNDS"); do
		/root/calls32 &
		/root/calls32
		wait
		cat /proc/syscall_tracer >/dev/null
	done
	[ ! -e /run/directory-32 ]
	law
	echo 0 >/sys/module/syscall_tracer/parameters/enforce
	rmmod syscall_tracer
done
echo "rounds=$((4 * ROUNDS))"
