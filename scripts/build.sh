#!/usr/bin/env bash
# Builds the program with the dashboard in it, fetching what that takes; nothing that listens is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_rust
need_node
npm_packages dashboard
build_dashboard
build_server
