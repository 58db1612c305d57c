#!/bin/sh
# Lets Schemathesis ask a running bridge everything that its OpenAPI documents describe, well-formed and not, and holds
# every answer against them: no 5xx, no status, content type or body that is not described.
#
#   tests/api/run.sh [PATH-OF-OUTCOME-BRIDGE]        default: target/debug/outcome-bridge, built if need be
#
# Needs python3 (3.11 or newer) with venv; on Debian, as root, it installs what is missing. It asks the same questions each
# time. SEED=N asks others, by chance, for SECONDS_EACH (60) seconds for each of the two documents. Exits 0 only if everything
# holds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

have_tools() {
    python3 -c 'import venv, ensurepip' 2>/dev/null
}

if ! have_tools; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "run.sh: installing python3-venv with apt-get" >&2
        export DEBIAN_FRONTEND=noninteractive
        timeout 300 apt-get update -qq >&2 || fail "apt-get update did not succeed"
        timeout 900 apt-get install -y -qq --no-install-recommends python3 python3-venv >&2 ||
            fail "apt-get could not install python3-venv"
    fi
    have_tools || fail "install python3 with venv"
fi

bridge=${1:-}
if [ -z "$bridge" ]; then
    bridge=${CARGO_TARGET_DIR:-$root/target}/debug/outcome-bridge
    (cd "$root" && timeout 1800 cargo build --quiet --bin outcome-bridge) || fail "the bridge could not be built"
fi
[ -x "$bridge" ] || fail "there is no program $bridge"
bridge=$(cd "$(dirname "$bridge")" && pwd)/$(basename "$bridge")

work=$(mktemp -d)
serving=
finish() {
    if [ -n "$serving" ]; then
        kill "$serving" 2>/dev/null || true
        wait "$serving" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

echo "run.sh: installing Schemathesis" >&2
python3 -m venv "$work/python" || fail "python3 -m venv did not succeed"
timeout 600 "$work/python/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
    -r "$here/requirements.txt" >&2 || fail "pip install did not succeed"

# A bridge with something of everything: calls, outcomes, deliveries that arrive, that are retried, that are given up.
mkdir "$work/config"
sed "s|{work}|$work|g" "$here/bridge.toml" >"$work/config/outcome-bridge.toml"
"$bridge" serve --config "$work/config" 2>"$work/log" &
serving=$!
address() {
    "$work/python/bin/python" -c '
import json, sys
for line in open(sys.argv[1]):
    entry = json.loads(line)
    if entry.get("target") == "bridge.started":
        print("http://" + entry[sys.argv[2]])
' "$work/log" "$1"
}
waited=0
while [ -z "$(address admin)" ]; do
    waited=$((waited + 1))
    { [ "$waited" -lt 150 ] && kill -0 "$serving" 2>/dev/null; } || { cat "$work/log" >&2; fail "the bridge did not start"; }
    sleep 0.2
done
admin=$(address admin)
inlet=$(address inlet)

export OUTCOME_BRIDGE_URL="$admin" OUTCOME_BRIDGE_TOKEN=admin-token-of-the-fuzzer STORE_KEY=key-of-the-fuzzer
"$bridge" calls import "$here/calls.jsonl" || fail "calls import did not succeed"
"$bridge" outcomes import "$here/outcomes.jsonl" || fail "outcomes import did not succeed"

if [ -n "${SEED:-}" ]; then
    set -- --seed "$SEED" --max-time "${SECONDS_EACH:-60}"
else
    set -- --generation-deterministic --max-examples 60
fi
ask() {
    document=$1
    shift
    timeout --kill-after=10 900 "$work/python/bin/schemathesis" --no-color --config-file "$here/schemathesis.toml" run "$document" "$@"
}
cp "$here/hooks.py" "$work"
cd "$work"
held=0
ask "$admin/admin/v1/openapi.json" "$@" || held=1
ask "$inlet/api/openapi.json" "$@" || held=1

kill -0 "$serving" 2>/dev/null || { tail -50 "$work/log" >&2; fail "the bridge has gone"; }
# That the HTTP server could not read a request at all is no fault of ours.
if grep -E '"level":"ERROR"|panicked' "$work/log" | grep -v '"target":"actix_http::h1::dispatcher"' >&2; then
    fail "the bridge logged errors"
fi
[ "$held" = 0 ] || fail "the answers are not as described"
echo "run.sh: every answer is as described"
