"""Signs requests with the vendors' own SDKs for Python and prints them, one JSON object per line.

    python sign.py          the recorded moment: the same bytes each time
    python sign.py now      fresh requests

The lines have the shape that requests.mjs describes.
"""

import hashlib
import json
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs

from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature
from twilio.request_validator import HMAC_SHA256, RequestValidator

HERE = Path(__file__).resolve().parent
PUBLIC_URL = "https://hooks.example.com/webhooks"
SOURCES = json.loads((HERE / "sources.json").read_text("utf-8"))
JSON_BODIES = [
    "ascii.json", "latin.json", "emoji.json", "nested.json", "empty.json", "odd.json", "text.txt", "large.json",
]
FORM_BODIES = ["ascii.form", "latin.form", "emoji.form", "repeated.form", "large.form"]
FORM = "application/x-www-form-urlencoded"


def moment():
    given = sys.argv[1] if len(sys.argv) > 1 else "2026-05-06T16:10:05Z"
    if given == "now":
        return datetime.now(timezone.utc).replace(microsecond=0)
    return datetime.fromisoformat(given.replace("Z", "+00:00"))


NOW = moment()
SECONDS = int(NOW.timestamp())


def secret_of(source):
    entry = SOURCES[source]
    return entry["settings"][entry["secret"]]


def body(file):
    return (HERE / "bodies" / file).read_bytes().decode("utf-8")


def record(source, sdk, by, file, headers, kind="application/json"):
    line = {
        "name": f"{source}/python/{file}",
        "source": source,
        "sdk": f"pypi:{sdk}@{version(sdk)}",
        "signed_by": by,
        "public_url": f"{PUBLIC_URL}/{source}",
        "method": "POST",
        "query": "",
        "several_signatures": False,
        "headers": {"content-type": kind, **headers},
        "body": file,
        "body_sha256": hashlib.sha256((HERE / "bodies" / file).read_bytes()).hexdigest(),
        "now": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    print(json.dumps(line, separators=(",", ":"), ensure_ascii=False))


def stripe():
    for file in [*JSON_BODIES, "stripe.json"]:
        header = WebhookSignature.generate_signature_header(body(file), secret_of("stripe"), SECONDS)
        record("stripe", "stripe", "WebhookSignature.generate_signature_header", file, {"stripe-signature": header})


def standard_webhooks():
    webhook = Webhook(secret_of("standard-webhooks"))
    for file in JSON_BODIES:
        msg = f"msg_python_{file.replace('.', '_')}"
        headers = {
            "webhook-id": msg,
            "webhook-timestamp": str(SECONDS),
            "webhook-signature": webhook.sign(msg, NOW, body(file)),
        }
        record("standard-webhooks", "standardwebhooks", "Webhook.sign", file, headers)


def twilio():
    kinds = [("twilio", None, {}), ("twilio-shared-key", HMAC_SHA256, {
        "x-twilio-webhooks-signature-settings": "key=webhooks_sharedkey_test,algorithm=HMAC_SHA256",
    })]
    for source, algorithm, extra in kinds:
        validator = RequestValidator(secret_of(source))
        for file in FORM_BODIES:
            params = Params(parse_qs(body(file), keep_blank_values=True))
            signature = validator.compute_signature(f"{PUBLIC_URL}/{source}", params, algorithm)
            headers = {"x-twilio-signature": signature, **extra}
            record(source, "twilio", "RequestValidator.compute_signature", file, headers, FORM)


class Params(dict):
    """A form as web frameworks hand it to Twilio's validator: several values to a name."""

    def getlist(self, name):
        return self[name]


def slack():
    verifier = SignatureVerifier(secret_of("slack"))
    files = [("slack", [*JSON_BODIES, "slack.json"], "application/json"), ("slack-command", ["slack.form"], FORM)]
    for source, names, kind in files:
        for file in names:
            headers = {
                "x-slack-request-timestamp": str(SECONDS),
                "x-slack-signature": verifier.generate_signature(timestamp=str(SECONDS), body=body(file)),
            }
            record(source, "slack_sdk", "SignatureVerifier.generate_signature", file, headers, kind)


stripe()
standard_webhooks()
twilio()
slack()
