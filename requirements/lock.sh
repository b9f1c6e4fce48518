#!/bin/sh
# Locks the extras of pyproject.toml: one file per image (Python 3.13), dev.lock and bench.lock (Python 3.11).
# Pins already in a lock are kept while pyproject.toml allows them; `lock.sh --upgrade` moves them all.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}

lock() {
    extra=$1 python=$2
    shift 2
    "$UV" pip compile pyproject.toml --extra "$extra" --universal --python-version "$python" \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet \
        --custom-compile-command "requirements/lock.sh" \
        --output-file "requirements/$extra.lock" "$@" >/dev/null
}

for tool in dev bench; do
    lock "$tool" 3.11 "$@"
done
for image in operator gateway data runtime; do
    lock "$image" 3.13 "$@"
done
