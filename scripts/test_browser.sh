#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of the report page in headless Chromium, installed from the distribution where it is missing.
set -euo pipefail

if (($# < 1)); then
    echo "usage: scripts/test_browser.sh VENV [PYTEST_ARGUMENT...]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$1
shift

browser=${BROWSER:-chromium}
if ! command -v "$browser" >/dev/null; then
    if [[ $browser != chromium ]] || ! command -v apt-get >/dev/null || (($(id -u) != 0)); then
        echo "test_browser: $browser is not installed: install Chromium, or name it by BROWSER=/path/to/it" >&2
        exit 1
    fi
    echo "test_browser: installing chromium"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq || echo "test_browser: apt-get update failed; going on with the lists that are here" >&2
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 chromium >/dev/null
fi
exec "$venv/bin/python" -m pytest tests/browser -o faulthandler_timeout=180 "$@"
