#!/bin/sh
# Opens the console of a real bridge in a real, headless Chromium: numbers, drill-down, keyboard, accessibility.
#
#   tests/browser/run.sh [PATH-OF-OUTCOME-BRIDGE]        default: target/debug/outcome-bridge, built if need be
#
# Needs node (18 or newer), npm and Chromium (or Chrome; CHROMIUM names one). On Debian, as root, it installs what is missing; elsewhere
# Playwright brings a browser of its own. PICTURES=DIRECTORY keeps a picture of each page. Without a browser it fails. Prints
# `N passed, M failed` on a line of its own; exits 0 only if M is 0.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
playwright=1.60.0

fail() {
    echo "run.sh: $*" >&2
    echo "0 passed, 1 failed"
    exit 1
}

by_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "run.sh: installing $* with apt-get" >&2
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 apt-get update -qq >&2 || echo "run.sh: apt-get update did not succeed" >&2
    timeout 900 apt-get install -y -qq --no-install-recommends "$@" >&2
}

browser() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    # One that Playwright brought: it names the newest last.
    find "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}" -type f \( -name headless_shell -o -name chrome-headless-shell \) 2>/dev/null | sort | tail -n 1
}

missing=""
command -v node >/dev/null || missing="nodejs"
command -v npm >/dev/null || missing="$missing npm"
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # a list of packages
    by_apt $missing || fail "install node (18 or newer) and npm"
fi
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || fail "node $(node --version) is too old: 18 or newer"

if [ -z "$(browser)" ]; then
    by_apt chromium fonts-dejavu-core || {
        echo "run.sh: letting Playwright bring a browser" >&2
        timeout 900 npx --yes "playwright@$playwright" install --only-shell chromium >&2 || true
    }
fi
chromium=$(browser)
[ -n "$chromium" ] || fail "there is no Chromium and none could be installed"

bridge=${1:-}
if [ -z "$bridge" ]; then
    bridge=${CARGO_TARGET_DIR:-$root/target}/debug/outcome-bridge
    (cd "$root" && timeout 1800 cargo build --quiet --bin outcome-bridge) || fail "the bridge could not be built"
fi
[ -x "$bridge" ] || fail "there is no program $bridge"
bridge=$(cd "$(dirname "$bridge")" && pwd)/$(basename "$bridge")

if [ -n "${PICTURES:-}" ]; then
    mkdir -p "$PICTURES"
    PICTURES=$(cd "$PICTURES" && pwd)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
cp "$here"/*.mjs "$here"/package.json "$here"/package-lock.json "$work"
cd "$work"
echo "run.sh: installing playwright-core and axe-core" >&2
timeout 300 npm ci --prefer-offline --no-audit --no-fund --no-progress --loglevel=error >&2 || fail "npm ci did not succeed"

echo "run.sh: $("$chromium" --version 2>/dev/null || echo "$chromium")" >&2
timeout --kill-after=30 900 node pages.mjs "$bridge" "$chromium" ${PICTURES:+"$PICTURES"}
