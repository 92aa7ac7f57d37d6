# Processes, threads and files come and go, while readers of all files look ROUNDS times each.
# shellcheck shell=sh disable=SC2154
insmod /root/syscall_tracer.ko
insmod /root/task_lister.ko
touch /run/storm
(while [ -e /run/storm ]; do
	(:)
	(: >/run/file; rm /run/file) &
	wait
done) &
python3 - <<'END' &
import os, threading
while os.path.exists("/run/storm"):
    some = [threading.Thread(target=os.getppid) for _ in range(20)]
    for one in some: one.start()
    for one in some: one.join()
END
readers=
for file in syscall_tracer syscall_tracer_stats task_lister task_detail task_stats task_tree; do
	(for _ in $(seq "$ROUNDS"); do cat /proc/$file; done >/dev/null) &
	readers="$readers $!"
done
for reader in $readers; do wait "$reader"; done
rm /run/storm
wait
law
rmmod task_lister syscall_tracer
echo "passes=$((6 * ROUNDS))"
