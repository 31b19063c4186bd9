#!/bin/sh
# `make k6`: runs the given scripts, or all, against BASE_URL; without it, against a node with a fresh data folder.
# Fails if one of them fails.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
k6=$("$here/install.sh" "$target")
export K6_AUTO_EXTENSION_RESOLUTION=false
export RESULTS="${RESULTS:-$(cd "$target/k6" && pwd)}"
mkdir -p "$RESULTS"

node=
scratch=
stop() {
    [ -z "$node" ] || { kill "$node" && wait "$node" || true; }
    [ -z "$scratch" ] || rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 1' INT TERM

if [ -z "${BASE_URL:-}" ]; then
    scratch=$(mktemp -d)
    "${PABAL_BINARY:-$target/dist/pabal}" serve --no-rate-limits --listen 127.0.0.1:0 \
        --data "$scratch/data" >"$scratch/out" 2>"$scratch/log" &
    node=$!
    until BASE_URL=$(sed -n 's|^listening on ||p' "$scratch/out") && [ -n "$BASE_URL" ]; do
        kill -0 "$node" 2>/dev/null || {
            cat "$scratch/log" >&2
            exit 1
        }
        sleep 0.1
    done
    export BASE_URL
fi

[ $# -gt 0 ] || set -- short-polling long-polling websocket mixed
failed=
for script; do
    "$k6" run --no-usage-report --quiet "$here/$script.js" || failed="$failed $script"
done
echo "the figures as JSON: $RESULTS"
if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
