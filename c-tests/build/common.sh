# Sourced by the checks of this folder; the Makefile sets O, STAGE and the rest.
set -eu

name=$(basename "$0")
bad=0

ok()   { echo "$name: $*: ok"; }
fail() { echo "$name: $*: FAILED" >&2; bad=1; }
finish() { [ "$bad" = 0 ] || exit 1; }

# A check whose tool is missing says so, and fails where all tools belong: in CI.
need() {
    for tool; do
        command -v "$tool" >/dev/null && continue
        echo "$name: SKIP: no $tool here"
        [ -z "${CI:-}" ] || exit 1
        exit 0
    done
}

# An empty directory below $O, for this check alone.
fresh() {
    rm -rf "$O/$name"
    mkdir -p "$O/$name"
    echo "$O/$name"
}
