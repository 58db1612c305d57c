#!/bin/sh
# Records fixtures.jsonl anew. Needs the SDKs: `npm ci`, and `pip install --no-deps -r requirements.txt` for $PYTHON.
set -eu
cd "$(dirname "$0")"
{ node sign.mjs; "${PYTHON:-python3}" sign.py; } > fixtures.jsonl.new
mv fixtures.jsonl.new fixtures.jsonl
