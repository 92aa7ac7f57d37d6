# The machine goes to sleep, as far as its devices, and wakes ROUNDS times while calls are traced and listened to.
# shellcheck shell=sh disable=SC2154
insmod /root/syscall_tracer.ko returns=1
insmod /root/task_lister.ko
echo "trace mkdir rmdir" >/proc/syscall_tracer
# So it wakes by itself: see Documentation/power/basic-pm-debugging.rst.
echo devices >/sys/power/pm_test
echo 1 >/sys/module/suspend/parameters/pm_test_delay
begin_calls
(while [ -e /run/calls ]; do cat /proc/syscall_tracer /proc/task_lister; done >/dev/null) &
for _ in $(seq "$ROUNDS"); do
	echo freeze >/sys/power/state
	cat /proc/syscall_tracer >/dev/null
done
end_calls
law
echo none >/sys/power/pm_test
rmmod task_lister syscall_tracer
echo "rounds=$ROUNDS"
