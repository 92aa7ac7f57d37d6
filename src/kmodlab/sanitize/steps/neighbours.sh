# Others hook the blocked call, before the tracer and behind it, ROUNDS times each; what is blocked does not run.
# shellcheck shell=sh disable=SC2154
tracing=/sys/kernel/tracing call=__x64_sys_mkdir
come() {
	case $1 in
	kprobe) echo "p:ours $call" >>$tracing/kprobe_events ;;
	kretprobe) echo "r:ours $call" >>$tracing/kprobe_events ;;
	*) echo $call >$tracing/set_ftrace_filter ;;
	esac
	case $1 in
	k*probe) echo 1 >$tracing/events/kprobes/ours/enable ;;
	*) echo "$1" >$tracing/current_tracer ;;
	esac
}
go() {
	case $1 in
	k*probe)
		echo 0 >$tracing/events/kprobes/ours/enable
		echo -:ours >>$tracing/kprobe_events
		;;
	*)
		echo nop >$tracing/current_tracer
		echo >$tracing/set_ftrace_filter
		;;
	esac
}
block() {
	echo "mkdir block errno=EXDEV path=/run/blocked" >/proc/syscall_tracer
	echo 1 >/sys/module/syscall_tracer/parameters/enforce
}
unblock() {
	echo 0 >/sys/module/syscall_tracer/parameters/enforce
	echo clear >/proc/syscall_tracer
}
held() {
	python3 -c 'import errno, os
try: os.mkdir("/run/blocked")
except OSError as error: assert error.errno == errno.EXDEV, error
else: raise SystemExit("it was made")'
}
for given in "hook=ftrace" "hook=kprobe" "hook=auto returns=1"; do
	for who in kprobe kretprobe function function_graph; do
		for _ in $(seq "$ROUNDS"); do
			come $who
			# shellcheck disable=SC2086 # two parameters
			insmod /root/syscall_tracer.ko $given
			block
			held
			go $who
			held
			come $who
			held
			unblock
			block
			held
			unblock
			rmmod syscall_tracer
			go $who
		done
	done
done
echo "rounds=$((12 * ROUNDS))"
