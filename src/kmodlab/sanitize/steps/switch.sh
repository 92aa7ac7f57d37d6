# Filters, modes and `returns` are changed ROUNDS times while calls are made.
# shellcheck shell=sh disable=SC2154
tracer=/proc/syscall_tracer parameters=/sys/module/syscall_tracer/parameters
for hook in ftrace kprobe; do
	insmod /root/syscall_tracer.ko hook=$hook
	touch /run/calls
	for load in 1 2; do
		(while [ -e /run/calls ]; do mkdir /run/directory-$load 2>/dev/null; rmdir /run/directory-$load 2>/dev/null; done) &
	done
	for round in $(seq "$ROUNDS"); do
		echo "trace mkdir connect =getppid" >$tracer
		echo 1 >$parameters/returns
		cat $tracer >/dev/null
		# While calls are held to what a filter says, this may not change.
		echo 0 >$parameters/returns
		echo "mkdir block comm=mkdir errno=EXDEV" >$tracer
		echo 1 >$parameters/enforce
		cat $tracer >/dev/null
		echo 0 >$parameters/enforce
		echo clear >$tracer
		echo "untrace mkdir connect =getppid" >$tracer
	done
	rm /run/calls
	wait
	rmmod syscall_tracer
done
echo "rounds=$((2 * ROUNDS))"
