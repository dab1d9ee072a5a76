#!/bin/sh
# What a child may call while it shares its parent's memory: nothing. Reads the
# machine code of the function that it runs, up to its exec, from an unstripped
# library:  spawn_child_calls.sh libsss_sigchld.so
set -eu

library=${1:?which library}

if ! command -v objdump >/dev/null; then
	echo "SKIP: no objdump"
	exit 0
fi

code=$(objdump -d --no-show-raw-insn -C "$library" |
	awk '/^[0-9a-f]+ <.*::exec::child_main>:$/ { inside = 1 } inside && /^$/ { exit } inside')
if [ -z "$code" ]; then
	echo "FAIL: no child_main in $library (stripped?)"
	exit 1
fi

# The function must be what it is thought to be.
calls=$(echo "$code" | grep -cE '[[:space:]](syscall|svc)' || true)
if [ "$calls" -lt 10 ]; then
	echo "FAIL: child_main makes $calls system calls: the wrong function"
	exit 1
fi

# Calls, and jumps that leave the function.
away=$(echo "$code" | grep -E '[[:space:]](call|bl|blr)[[:space:]]' || true)
left=$(echo "$code" | grep -E '[[:space:]](j[a-z]+|b|b\.[a-z]+|cbn?z|tbn?z)[[:space:]].*<' |
	grep -vE '<.*::exec::child_main(\+0x[0-9a-f]+)?>' || true)
if [ -n "$away$left" ]; then
	echo "FAIL: child_main leaves itself:"
	echo "$away$left"
	exit 1
fi

echo "ok: child_main makes $calls system calls and calls nothing"
