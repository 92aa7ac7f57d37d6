# Listeners that never read are there while ROUNDS thousand calls are made, while others come, and when the module goes.
# shellcheck shell=sh disable=SC2154
for hook in ftrace kprobe; do
	insmod /root/syscall_tracer.ko hook=$hook
	echo "trace mkdir rmdir" >/proc/syscall_tracer
	mkfifo /run/end
	/root/listen 8 </run/end >/run/said &
	exec 3>/run/end
	until grep -q ready /run/said; do sleep 0.1; done
	for _ in $(seq "$ROUNDS"); do
		python3 -c 'import os
for each in range(500): os.mkdir("/run/a-directory"), os.rmdir("/run/a-directory")'
		echo | /root/listen 2 >/run/other
	done
	law
	# Who listens holds the family, and not the module.
	rmmod syscall_tracer
	insmod /root/syscall_tracer.ko hook=$hook
	exec 3>&-
	wait
	rm /run/end /run/said /run/other
	rmmod syscall_tracer
done
echo "calls=$((2 * 1000 * ROUNDS))"
