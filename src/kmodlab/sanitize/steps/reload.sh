# The modules come and go ROUNDS times while calls are made, files are read, and readers and listeners stay open.
# shellcheck shell=sh disable=SC2154
begin_calls
for _ in 1 2; do
	(while [ -e /run/calls ]; do cat /proc/syscall_tracer /proc/task_lister /proc/task_tree || :; done >/dev/null 2>&1) &
done
for round in $(seq "$ROUNDS"); do
	hook=ftrace
	[ $((round % 2)) = 0 ] || hook=kprobe
	insmod /root/syscall_tracer.ko hook=$hook returns=1
	insmod /root/task_lister.ko
	# Who has a file open does not hold the module; what it reads afterwards is an end, or an error.
	(exec 3</proc/task_lister 4</proc/syscall_tracer; head -c 100 <&3; rmmod task_lister syscall_tracer; cat <&3 <&4) >/dev/null 2>&1 || :
	rmmod task_lister syscall_tracer 2>/dev/null || :
	[ ! -e /proc/task_lister ] && [ ! -e /proc/syscall_tracer ] || exit 1
done
end_calls
echo "rounds=$ROUNDS"
