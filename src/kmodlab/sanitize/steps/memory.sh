# Memory runs out ROUNDS times while calls are traced, files are read and modules are loaded; the kernel ends the hog.
# shellcheck shell=sh disable=SC2154,SC2015 # what fails for want of memory is to fail
for _ in $(seq "$ROUNDS"); do
	python3 -c '
import mmap
open("/proc/self/oom_score_adj", "w").write("1000")
kept = []
while True:
    kept.append(mmap.mmap(-1, 1 << 24))
    for page in range(0, 1 << 24, 4096): kept[-1][page] = 1' &
	hog=$!
	while [ -e /proc/$hog/stat ] && ! grep -q ' Z ' /proc/$hog/stat; do
		insmod /root/syscall_tracer.ko && insmod /root/task_lister.ko || true
		echo "trace mkdir" >/proc/syscall_tracer || true
		mkdir /run/a-directory && rmdir /run/a-directory || true
		cat /proc/syscall_tracer /proc/task_lister /proc/task_tree || true
		rmmod task_lister || true
		rmmod syscall_tracer || true
	done >/dev/null 2>&1
	wait $hog || true
done
insmod /root/syscall_tracer.ko
rmmod syscall_tracer
echo "rounds=$ROUNDS"
