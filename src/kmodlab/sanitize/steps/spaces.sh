# All files are read ROUNDS times in namespaces of their own, where /proc hides what is others', and as nobody.
# shellcheck shell=sh disable=SC2154,SC2016
insmod /root/syscall_tracer.ko
insmod /root/task_lister.ko
sleep 1000 >/dev/null 2>&1 &
sleeper=$!
read_all='for file in syscall_tracer syscall_tracer_stats task_lister task_detail task_stats task_tree; do
	cat /proc/$file; done >/dev/null 2>&1; mkdir /run/a-directory 2>/dev/null; rmdir /run/a-directory 2>/dev/null; true'
for _ in $(seq "$ROUNDS"); do
	sh -c "$read_all"
	setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$read_all"
	unshare --pid --fork --mount-proc sh -c "$read_all"
	unshare --user --map-root-user --pid --fork --mount-proc --net sh -c "$read_all"
	unshare --mount sh -c "mount -o remount,hidepid=2 /proc && setpriv --reuid=65534 --clear-groups sh -c '$read_all'"
	# Who is in no namespace of the reader's has no number there.
	unshare --pid --fork --mount-proc sh -c "! grep -q ' $sleeper ' /proc/task_lister"
done
kill $sleeper
mount -o remount,hidepid=0 /proc
rmmod task_lister syscall_tracer
echo "rounds=$ROUNDS"
