# Filters, modes and `returns` are changed ROUNDS times while calls are made.
# shellcheck shell=sh disable=SC2154
tracer=/proc/syscall_tracer parameters=/sys/module/syscall_tracer/parameters
for hook in ftrace kprobe; do
	insmod /root/syscall_tracer.ko hook=$hook
	begin_calls
	for _ in $(seq "$ROUNDS"); do
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
	end_calls
	law
	rmmod syscall_tracer
done
echo "rounds=$((2 * ROUNDS))"
