"""Selections: the steps that choose from /proc/task_lister, and a shell that looks at what changed."""

from __future__ import annotations

from collections.abc import Sequence

from .readers.wording import require_that, text_of
from .script import LISTER, Answer, step

STORM = "for i in $(seq 200); do (:) & done; wait"
PASSES = 12
SHELL = f"""
exec 3<>{LISTER}
look() {{
    echo "columns=id,pid,comm,uid,state format=jsonl kthreads=0 since=$p" >&3
    cat <&3 >/run/pass
    p=$(sed -n 's/.*"pass":\\([0-9]*\\).*/\\1/p' /run/pass)
    cat /run/pass
    echo end
}}
nap() {{
    sleep 60 & k=$!
    until grep -qsx sleep /proc/$k/comm; do kill -0 $k || return; done
}}
end() {{
    kill $k
    wait $k 2>/dev/null
}}
again() {{
    old=$k
    for try in $(seq 500); do
        echo $((old - 1)) >/proc/sys/kernel/ns_last_pid
        nap
        [ $k = $old ] && break
        end
    done
}}
p=0
"""
"""A shell that looks at what changed since it looked last; it has a process, and another one with the same number."""


def chosen(words: str, chunk: int = 65536) -> tuple[str, ...]:
    """Steps: open the list, write a selection, read all, close."""
    return step("open", 0, LISTER, "rw"), step("fwrite", 0, words), step("fread", 0, chunk), step("close", 0)


def took(answers: Sequence[Answer]) -> str:
    """Return what these steps read."""
    opened, written, page, _ = answers
    require_that(opened["errno"] == 0, "Root opens the list to read and to write.", f"errno {opened['errno']}")
    require_that(written["ret"] == written["size"], "A selection is written as a whole.", f"errno {written['errno']}")
    return text_of(page, LISTER)
