# A processor goes and comes ROUNDS times: while calls are traced, and between loading and unloading.
# shellcheck shell=sh disable=SC2154
online=/sys/devices/system/cpu/cpu1/online
begin_calls
for _ in $(seq "$ROUNDS"); do
	insmod /root/syscall_tracer.ko
	echo "trace mkdir" >/proc/syscall_tracer
	echo 0 >$online
	cat /proc/syscall_tracer /proc/syscall_tracer_stats >/dev/null
	rmmod syscall_tracer
	insmod /root/syscall_tracer.ko hook=kprobe
	echo 1 >$online
	cat /proc/syscall_tracer >/dev/null
	law
	rmmod syscall_tracer
done
end_calls
echo "rounds=$ROUNDS"
