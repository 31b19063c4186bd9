#!/bin/sh
# Builds k6 in the version of go.mod and go.sum, unless it is built, and prints its path: below the given folder,
# or Cargo's target folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^.*go\.k6\.io/k6/v2 \(v[^ ]*\).*|\1|p' "$here/go.mod")
folder=${1:-${CARGO_TARGET_DIR:-$here/../../target}}/k6/$version
if [ ! -x "$folder/k6" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "k6 is not installed: it is built with Go, which is at https://go.dev/dl" >&2
        exit 1
    fi
    echo "Building k6 $version, which takes some minutes the first time" >&2
    mkdir -p "$folder"
    # Build in a separate folder, so that no process runs an incomplete program.
    aside=$(mktemp -d "$folder/XXXXXX")
    trap 'rm -rf "$aside"' EXIT
    (cd "$here" && GOBIN=$aside go install go.k6.io/k6/v2)
    mv "$aside/k6" "$folder/k6"
fi
echo "$folder/k6"
