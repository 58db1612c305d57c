#!/bin/sh
# Lets the vendors' own SDKs sign webhooks now and posts them to a running bridge.
#
#   tests/sdk/live.sh [PATH-OF-OUTCOME-BRIDGE]        default: target/debug/outcome-bridge, built if need be
#
# Needs node (18 or newer), npm and python3 with venv; on Debian, as root, it installs what is missing. The SDKs
# go into a temporary directory. Prints `N passed, M failed` on a line of its own; exits 0 only if M is 0.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

fail() {
    echo "live.sh: $*" >&2
    echo "0 passed, 1 failed"
    exit 1
}

have_tools() {
    command -v node >/dev/null && command -v npm >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null
}

if ! have_tools; then
    echo "live.sh: node, npm or python3 with venv is missing" >&2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "live.sh: installing nodejs, npm and python3-venv with apt-get" >&2
        export DEBIAN_FRONTEND=noninteractive
        timeout 300 apt-get update -qq >&2 || fail "apt-get update did not succeed"
        timeout 900 apt-get install -y -qq --no-install-recommends nodejs npm python3 python3-venv >&2 ||
            fail "apt-get could not install nodejs, npm and python3-venv"
    fi
    have_tools || fail "install node (18 or newer), npm and python3 with venv"
fi
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || fail "node $(node --version) is too old: 18 or newer"

bridge=${1:-}
if [ -z "$bridge" ]; then
    bridge=${CARGO_TARGET_DIR:-$root/target}/debug/outcome-bridge
    (cd "$root" && timeout 1800 cargo build --quiet --bin outcome-bridge) || fail "the bridge could not be built"
fi
[ -x "$bridge" ] || fail "there is no program $bridge"
bridge=$(cd "$(dirname "$bridge")" && pwd)/$(basename "$bridge")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir "$work/sdk"
tar -C "$here" --exclude=./node_modules -cf - . | tar -C "$work/sdk" -xf -
cd "$work/sdk"

echo "live.sh: installing the SDKs" >&2
timeout 600 npm ci --prefer-offline --no-progress --loglevel=error >&2 || fail "npm ci did not succeed"
python3 -m venv "$work/python" || fail "python3 -m venv did not succeed"
timeout 600 "$work/python/bin/pip" install --quiet --disable-pip-version-check --no-deps -r requirements.txt >&2 ||
    fail "pip install did not succeed"

# The recorded requests have to be what these SDKs sign.
PYTHON="$work/python/bin/python" timeout 300 ./record.sh || fail "the SDKs could not sign"
cmp -s fixtures.jsonl "$here/fixtures.jsonl" || fail "fixtures.jsonl is not what the SDKs sign: run tests/sdk/record.sh"

{
    timeout 300 node sign.mjs now && timeout 300 "$work/python/bin/python" sign.py now
} >requests.jsonl || fail "the SDKs could not sign"
timeout --kill-after=90 600 node live.mjs "$bridge" <requests.jsonl
