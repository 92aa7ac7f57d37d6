# A processor goes and comes ROUNDS times: while calls are traced, and between loading and unloading.
# shellcheck shell=sh disable=SC2154
online=/sys/devices/system/cpu/cpu1/online
touch /run/calls
for load in 1 2; do
	(while [ -e /run/calls ]; do mkdir /run/directory-$load; rmdir /run/directory-$load; done 2>/dev/null) &
done
for round in $(seq "$ROUNDS"); do
	insmod /root/syscall_tracer.ko
	echo "trace mkdir" >/proc/syscall_tracer
	echo 0 >$online
	cat /proc/syscall_tracer /proc/syscall_tracer_stats >/dev/null
	rmmod syscall_tracer
	insmod /root/syscall_tracer.ko hook=kprobe
	echo 1 >$online
	cat /proc/syscall_tracer >/dev/null
	rmmod syscall_tracer
done
rm /run/calls
wait
echo "rounds=$ROUNDS"
