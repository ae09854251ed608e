#!/usr/bin/env bash
# Builds the program and becomes it. Arguments go to `stentor serve`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

scripts/build.sh
need_rust
program=$(server)
exec "$program" serve "$@"
