# Both modules, loaded and unloaded ROUNDS times, by each hook.
# shellcheck shell=sh disable=SC2154 # ROUNDS comes from who runs this
for _ in $(seq "$ROUNDS"); do
	for hook in ftrace kprobe; do
		insmod /root/syscall_tracer.ko hook=$hook
		insmod /root/task_lister.ko
		cat /proc/syscall_tracer /proc/syscall_tracer_stats /proc/task_lister /proc/task_stats >/dev/null
		rmmod task_lister syscall_tracer
	done
done
echo "rounds=$ROUNDS"
