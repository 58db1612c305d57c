//! Every signature that vendors have published for their schemes, and ones computed by hand from the
//! documented rule where a vendor publishes none. Each is accepted, and refused with another body.

use jiff::Timestamp;

use crate::connector::testing::{accepts, request, source};

struct Vector {
    name: &'static str,
    verify: &'static str,
    secret: &'static str,
    url: &'static str,
    query: &'static str,
    method: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    /// Milliseconds after the Unix epoch.
    now: i64,
}

const BASE: Vector = Vector {
    name: "",
    verify: "",
    secret: "",
    url: "https://bridge.example.com/webhooks/test",
    query: "",
    method: "POST",
    headers: &[],
    body: "",
    now: 1_700_000_000_000,
};

fn check(vectors: &[Vector]) {
    for vector in vectors {
        let inbound = format!(
            "[inbound]\n[inbound.verify]\nkind = \"mac\"\n{}",
            vector.verify
        );
        let source = source(&inbound, vector.secret, vector.url);
        let now = Timestamp::from_millisecond(vector.now).unwrap();
        let arrived = |body: &[u8]| request(vector.method, vector.query, vector.headers, body);
        assert!(
            accepts(&source, &arrived(vector.body.as_bytes()), now),
            "{} should be accepted: {:?}",
            vector.name,
            source.receive(arrived(vector.body.as_bytes()), now)
        );
        if source.strength().covers_body {
            let mut altered = vector.body.as_bytes().to_vec();
            altered.push(b' ');
            assert!(
                !accepts(&source, &arrived(&altered), now),
                "{} should be refused with another body",
                vector.name
            );
        }
    }
}

const HUBSPOT_V1: &str = "secret = \"secret\"\nalgorithm = \"sha256\"\ncontent = \"{secret}{body}\"\nheader = [\"x-hubspot-signature\"]";
const HUBSPOT_V2: &str = "secret = \"secret\"\nalgorithm = \"sha256\"\ncontent = \"{secret}{method}{url}{body}\"\nheader = [\"x-hubspot-signature\"]";
const HUBSPOT_V3: &str = "secret = \"secret\"\ncontent = \"{method}{url}{body}{timestamp}\"\nurl_form = \"hubspot\"\nheader = [\"x-hubspot-signature-v3\"]\nencoding = \"base64\"\n[inbound.verify.timestamp]\nheader = [\"x-hubspot-request-timestamp\"]\nunit = \"ms\"\nfuture = \"none\"";
const HUBSPOT_SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
const HUBSPOT_URL: &str = "https://www.example.com/webhook_uri";
const HUBSPOT_BATCH: &str = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;

const HUBSPOT: Vector = Vector {
    secret: HUBSPOT_SECRET,
    url: HUBSPOT_URL,
    body: "{'example_field':'example_value'}",
    ..BASE
};

#[test]
fn hubspot_vectors_verify() {
    check(&[
        Vector {
            name: "HubSpot v1, batch",
            verify: HUBSPOT_V1,
            headers: &[(
                "x-hubspot-signature",
                "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de",
            )],
            body: HUBSPOT_BATCH,
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v1, single quotes",
            verify: HUBSPOT_V1,
            headers: &[(
                "x-hubspot-signature",
                "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750",
            )],
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v2, GET",
            verify: HUBSPOT_V2,
            method: "GET",
            headers: &[(
                "x-hubspot-signature",
                "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e",
            )],
            body: "",
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v2, double quotes",
            verify: HUBSPOT_V2,
            headers: &[(
                "x-hubspot-signature",
                "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900",
            )],
            body: r#"{"example_field":"example_value"}"#,
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v2, single quotes",
            verify: HUBSPOT_V2,
            headers: &[(
                "x-hubspot-signature",
                "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383",
            )],
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v3, 2023-09",
            verify: HUBSPOT_V3,
            headers: &[
                (
                    "x-hubspot-signature-v3",
                    "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
                ),
                ("x-hubspot-request-timestamp", "1693657560000"),
            ],
            now: 1_693_657_560_000,
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v3, 2023-11",
            verify: HUBSPOT_V3,
            headers: &[
                (
                    "x-hubspot-signature-v3",
                    "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw=",
                ),
                ("x-hubspot-request-timestamp", "1700000300000"),
            ],
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v3, documentation",
            verify: HUBSPOT_V3,
            secret: "cfc68c0b-4b4e-4ef8-b764-95350e4ea479",
            url: "https://webhook.site/335453f5-94b3-49d9-b684-a55354d4b8df",
            headers: &[
                (
                    "x-hubspot-signature-v3",
                    "gbj1XPRvUt0noT7i7fXfTzOD4sLzQmf0VT28ZYq0EYg=",
                ),
                ("x-hubspot-request-timestamp", "1752613922216"),
            ],
            body: r#"[{"eventId":531833541,"subscriptionId":3923621,"portalId":48807704,"appId":16111050,"occurredAt":1752613920733,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":138017612137,"changeFlag":"CREATED","changeSource":"CRM_UI","sourceId":"userId:76023669"}]"#,
            now: 1_752_613_922_216,
            ..BASE
        },
        Vector {
            name: "HubSpot v3, encoded query",
            verify: HUBSPOT_V3,
            query: "src=hs%3Aapp%2Fv3",
            headers: &[
                (
                    "x-hubspot-signature-v3",
                    "5loAdyxI2I8CSVMGs8mc4UPemvY/+GJXAo7SW40qbxk=",
                ),
                ("x-hubspot-request-timestamp", "1700000300000"),
            ],
            body: HUBSPOT_DEAL,
            ..HUBSPOT
        },
        Vector {
            name: "HubSpot v3, our URL",
            verify: HUBSPOT_V3,
            secret: PROBE_SECRET,
            url: "https://bridge.example.com/in/hubspot",
            headers: &[
                (
                    "x-hubspot-signature-v3",
                    "mZqps3OkJg81r7Gk/dJDLp+J3nABFYEAZO1lgKiJAIw=",
                ),
                ("x-hubspot-request-timestamp", "1760000000000"),
            ],
            ..PROBE
        },
    ]);
}

const HUBSPOT_DEAL: &str = r#"[{"eventId":1,"subscriptionType":"deal.propertyChange","propertyName":"dealstage","propertyValue":"closedwon","objectId":9001,"portalId":62515,"occurredAt":1700000300000,"attemptNumber":0}]"#;

#[test]
fn hubspot_v3_over_the_url_as_it_came_is_refused() {
    let inbound = format!("[inbound]\n[inbound.verify]\nkind = \"mac\"\n{HUBSPOT_V3}");
    let source = source(&inbound, HUBSPOT_SECRET, HUBSPOT_URL);
    let headers = [
        (
            "x-hubspot-signature-v3",
            "g6nvpTm41wF/nhPAvdkdzC7u4EiRRS+pzrkd+aeKCzs=",
        ),
        ("x-hubspot-request-timestamp", "1700000300000"),
    ];
    let request = request(
        "POST",
        "src=hs%3Aapp%2Fv3",
        &headers,
        HUBSPOT_DEAL.as_bytes(),
    );
    let now = Timestamp::from_millisecond(1_700_000_300_000).unwrap();
    assert!(!accepts(&source, &request, now));
}

const SQUARE_VERIFY: &str = "secret = \"secret\"\ncontent = \"{url}{body}\"\nheader = [\"x-square-hmacsha256-signature\"]\nencoding = \"base64\"";
const SQUARE: Vector = Vector {
    verify: SQUARE_VERIFY,
    secret: "signature-key",
    url: "https://webhook.site/webhooks",
    ..BASE
};

#[test]
fn square_vectors_verify() {
    check(&[
        Vector {
            name: "Square, test notification",
            secret: "Ibxx_5AKakO-3qeNVR61Dw",
            url: "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9",
            headers: &[(
                "x-square-hmacsha256-signature",
                "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4=",
            )],
            body: r#"{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification","event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z","data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}"#,
            ..SQUARE
        },
        Vector {
            name: "Square, fake id",
            headers: &[(
                "x-square-hmacsha256-signature",
                "W3FlCNk5IA3ZQ2LHTWoajvzfaDu/OwY2tNHIHC3IUOA=",
            )],
            body: r#"{"data":{"type":"webhooks","id":"fake_id"}}"#,
            ..SQUARE
        },
        Vector {
            name: "Square, angle brackets",
            headers: &[(
                "x-square-hmacsha256-signature",
                "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U=",
            )],
            body: r#"{"data":{"type":"webhooks","id":">id<"}}"#,
            ..SQUARE
        },
        Vector {
            name: "Square, probe",
            verify: SQUARE_VERIFY,
            url: "https://bridge.example.com/in/square",
            headers: &[(
                "x-square-hmacsha256-signature",
                "XZXAZBr5ZR/0HlLDPfaJCj8CT7bjivLYgUWVvzuoNV0=",
            )],
            ..PROBE
        },
    ]);
}

#[test]
fn slack_vector_verifies() {
    check(&[Vector {
        name: "Slack",
        verify: "secret = \"secret\"\ncontent = \"v0:{timestamp}:{body}\"\nheader = [\"x-slack-signature\"]\nprefix = \"v0=\"\n[inbound.verify.timestamp]\nheader = [\"x-slack-request-timestamp\"]",
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        headers: &[
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
            ("x-slack-request-timestamp", "1531420618"),
        ],
        body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        now: 1_531_420_618_000,
        ..BASE
    }]);
}

const TWILIO: Vector = Vector {
    verify: "secret = \"secret\"\nalgorithm = \"hmac-sha1\"\ncontent = \"{url}{sorted_form}\"\nurl_form = \"twilio\"\nheader = [\"x-twilio-signature\"]\nencoding = \"base64\"\nbody_hash = \"bodySHA256\"",
    secret: "12345",
    url: "https://mycompany.com/myapp.php",
    query: "foo=1&bar=2",
    body: "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212",
    ..BASE
};

#[test]
fn twilio_vectors_verify() {
    check(&[
        Vector {
            name: "Twilio, form",
            headers: &[("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=")],
            ..TWILIO
        },
        Vector {
            name: "Twilio, port 443 signed",
            headers: &[("x-twilio-signature", "kvajT1Ptam85bY51eRf/AJRuM3w=")],
            ..TWILIO
        },
        Vector {
            name: "Twilio, http and port 80 signed",
            url: "http://mycompany.com/myapp.php",
            headers: &[("x-twilio-signature", "0ZXoZLH/DfblKGATFgpif+LLRf4=")],
            ..TWILIO
        },
        Vector {
            name: "Twilio, http and port 1234",
            url: "http://mycompany.com:1234/myapp.php",
            headers: &[("x-twilio-signature", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=")],
            ..TWILIO
        },
        Vector {
            name: "Twilio, repeated values",
            headers: &[("x-twilio-signature", "IK+Dwps556ElfBT0I3Rgjkr1wJU=")],
            body: "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
            ..TWILIO
        },
        Vector {
            name: "Twilio, JSON",
            query: "foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
            headers: &[("x-twilio-signature", "a9nBmqA0ju/hNViExpshrM61xv4=")],
            body: r#"{"property": "value", "boolean": true}"#,
            ..TWILIO
        },
    ]);
}

#[test]
fn twilio_json_with_another_body_is_refused() {
    let inbound = format!(
        "[inbound]\n[inbound.verify]\nkind = \"mac\"\n{}",
        TWILIO.verify
    );
    let source = source(&inbound, TWILIO.secret, TWILIO.url);
    let query =
        "foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let headers = [("x-twilio-signature", "a9nBmqA0ju/hNViExpshrM61xv4=")];
    let request = request(
        "POST",
        query,
        &headers,
        br#"{"property": "value", "boolean": false}"#,
    );
    assert!(!accepts(&source, &request, Timestamp::UNIX_EPOCH));
}

const STANDARD: Vector = Vector {
    verify: "secret = \"secret\"\ncontent = \"{id}.{timestamp}.{body}\"\nheader = [\"webhook-signature\", \"svix-signature\"]\nformat = \"list\"\nversion = \"v1\"\nencoding = \"base64\"\nsecret_form = \"whsec\"\nid_header = [\"webhook-id\", \"svix-id\"]\n[inbound.verify.timestamp]\nheader = [\"webhook-timestamp\", \"svix-timestamp\"]",
    ..BASE
};

#[test]
fn standard_webhooks_vectors_verify() {
    check(&[
        Vector {
            name: "Standard Webhooks",
            secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            headers: &[
                ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
                ("webhook-timestamp", "1649367553"),
                (
                    "webhook-signature",
                    "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
                ),
            ],
            body: r#"{"email":"test@example.com","username":"test_user"}"#,
            now: 1_649_367_553_000,
            ..STANDARD
        },
        Vector {
            name: "Svix names, the third of four signatures",
            secret: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            headers: &[
                ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("svix-timestamp", "1614265330"),
                (
                    "svix-signature",
                    "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,AAAA",
                ),
            ],
            body: r#"{"test": 2432232314}"#,
            now: 1_614_265_330_000,
            ..STANDARD
        },
        Vector {
            name: "Quo, current scheme",
            secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            headers: &[
                ("webhook-id", "EV123"),
                ("webhook-timestamp", "1760000000"),
                (
                    "webhook-signature",
                    "v1,zjS8YbPugqhc724I6AZAGWruVTzc7cPt6zJYkR/KJjg=",
                ),
            ],
            body: PROBE.body,
            now: PROBE.now,
            ..STANDARD
        },
    ]);
}

#[test]
fn standard_webhooks_refuses_part_signatures_and_clocks_that_are_off() {
    let inbound = format!(
        "[inbound]\n[inbound.verify]\nkind = \"mac\"\n{}",
        STANDARD.verify
    );
    let source = source(
        &inbound,
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        STANDARD.url,
    );
    let arrived = |signature: &str| {
        let headers = [
            ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", signature),
        ];
        request(
            "POST",
            "",
            &headers,
            br#"{"email":"test@example.com","username":"test_user"}"#,
        )
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    let right = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    for (signature, second, expected) in [
        (right, 1_649_367_553, true),
        (right, 1_649_367_553 + 300, true),
        (right, 1_649_367_553 - 300, true),
        (right, 1_649_367_553 + 301, false),
        (right, 1_649_367_553 - 301, false),
        ("v1,", 1_649_367_553, false),
        ("v1,tZ1I4/hD", 1_649_367_553, false),
        (
            "v2,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            1_649_367_553,
            false,
        ),
        ("N/A", 1_649_367_553, false),
        ("", 1_649_367_553, false),
    ] {
        let accepted = accepts(&source, &arrived(signature), at(second));
        assert_eq!(accepted, expected, "{signature} at {second}");
    }
}

const PROBE_SECRET: &str = "whsec_test_secret";
const PROBE: Vector = Vector {
    secret: PROBE_SECRET,
    body: "{\"event\":\"probe\",\"id\":\"evt_1\",\"note\":\"caf\u{e9} > 1\"}",
    now: 1_760_000_000_000,
    ..BASE
};

#[test]
fn body_only_vectors_verify() {
    check(&[
        Vector {
            name: "GitHub",
            verify: "secret = \"secret\"\nheader = [\"x-hub-signature-256\"]\nprefix = \"sha256=\"",
            secret: "It's a Secret to Everybody",
            headers: &[(
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            body: "Hello, World!",
            ..BASE
        },
        Vector {
            name: "Airtable",
            verify: "secret = \"secret\"\nsecret_form = \"base64\"\nheader = [\"x-airtable-content-mac\"]\nprefix = \"hmac-sha256=\"",
            secret: "c2VjcmV0LWtleQ==",
            headers: &[(
                "x-airtable-content-mac",
                "hmac-sha256=e26da696a90933647bddc83995c3e1e3bb1c3d8ce1ff61cb7469767d50b2b2d4",
            )],
            body: r#"{"base": {"id": "app00000000000000"}, "webhook": {"id": "ach00000000000000"}, "timestamp": "2022-02-01T21:25:05.663Z"}"#,
            ..BASE
        },
        Vector {
            name: "Attio",
            verify: "secret = \"secret\"\nheader = [\"attio-signature\", \"x-attio-signature\"]",
            secret: "attio-webhook-secret",
            headers: &[(
                "x-attio-signature",
                "54c38db287b2f734dbdbdc9afa81531cb5a4f0f436ebafd7f08a7c646b6ea556",
            )],
            body: r#"{"webhook_id":"w1","events":[]}"#,
            ..BASE
        },
        Vector {
            name: "Shopify",
            verify: "secret = \"secret\"\nheader = [\"x-shopify-hmac-sha256\"]\nencoding = \"base64\"",
            secret: "shpss_test_secret",
            headers: &[(
                "x-shopify-hmac-sha256",
                "w+EWBZnzRDPKKV8FyzNzas9/tuBBWudnk6fanu8jn2A=",
            )],
            body: r#"{"id":1,"total_price":"199.00","currency":"USD"}"#,
            ..BASE
        },
        Vector {
            name: "Cal.com, Bland",
            verify: "secret = \"secret\"\nheader = [\"x-cal-signature-256\"]",
            headers: &[(
                "x-cal-signature-256",
                "d46efdf2d350768410d4bc18ec38b48923107461727d4e2274be07e3855d2b36",
            )],
            ..PROBE
        },
        Vector {
            name: "SavvyCal, upper case",
            verify: "secret = \"secret\"\nprefix = \"sha256=\"\nheader = [\"x-savvycal-signature\"]",
            headers: &[(
                "x-savvycal-signature",
                "sha256=D46EFDF2D350768410D4BC18EC38B48923107461727D4E2274BE07E3855D2B36",
            )],
            ..PROBE
        },
        Vector {
            name: "Jobber",
            verify: "secret = \"secret\"\nencoding = \"base64\"\nheader = [\"x-jobber-hmac-sha256\"]",
            headers: &[(
                "x-jobber-hmac-sha256",
                "1G798tNQdoQQ1LwY7Di0iSMQdGFyfU4idL4H44VdKzY=",
            )],
            ..PROBE
        },
        Vector {
            name: "Acuity",
            verify: "secret = \"secret\"\nencoding = \"base64\"\nheader = [\"x-acuity-signature\"]",
            headers: &[(
                "x-acuity-signature",
                "ie1kYTOC+VFikwEZ2FbYl4RUm3NDGP/AWI6vR/J2j34=",
            )],
            body: "action=scheduled&id=871212&calendarID=1&appointmentTypeID=22",
            ..PROBE
        },
        Vector {
            name: "CallRail",
            verify: "secret = \"secret\"\nalgorithm = \"hmac-sha1\"\nencoding = \"base64\"\nheader = [\"signature\"]",
            headers: &[("signature", "nzFo9sEbZaRtXf6aQ0mx86fhAoA=")],
            ..PROBE
        },
        Vector {
            name: "Synthflow, the call id alone",
            verify: "secret = \"secret\"\ncontent = \"{json:/call/call_id}\"\nencoding = \"base64\"\nheader = [\"http_synthflow_signature\"]",
            headers: &[(
                "http_synthflow_signature",
                "bc9gT8tlW/p0mk7hy0mXGN+WmgqQHzoiLxMNNNuRjiY=",
            )],
            body: r#"{"call":{"call_id":"call_abc123"}}"#,
            ..PROBE
        },
    ]);
}

const STRIPE_VERIFY: &str = "secret = \"secret\"\ncontent = \"{timestamp}.{body}\"\nheader = [\"stripe-signature\"]\nformat = \"pairs\"\nsignature_key = \"v1\"\n[inbound.verify.timestamp]\nkey = \"t\"\nfuture = \"none\"";

#[test]
fn timestamped_vectors_verify() {
    check(&[
        Vector {
            name: "Stripe",
            verify: STRIPE_VERIFY,
            secret: PROBE_SECRET,
            headers: &[(
                "stripe-signature",
                "t=1700000000,v1=d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990,v0=00",
            )],
            body: r#"{"id":"evt_test_webhook","object":"event"}"#,
            ..BASE
        },
        Vector {
            name: "Stripe, rolled secret: the second signature",
            verify: STRIPE_VERIFY,
            secret: PROBE_SECRET,
            headers: &[(
                "stripe-signature",
                "t=1700000000,v1=00ff,v1=d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990",
            )],
            body: r#"{"id":"evt_test_webhook","object":"event"}"#,
            ..BASE
        },
        Vector {
            name: "Calendly",
            verify: "secret = \"secret\"\ncontent = \"{timestamp}.{body}\"\nheader = [\"calendly-webhook-signature\"]\nformat = \"pairs\"\n[inbound.verify.timestamp]\nkey = \"t\"\npast = \"3 minutes\"",
            headers: &[(
                "calendly-webhook-signature",
                "t=1760000000, v1=9ea310998219d4a96ab458577c7423ca29c0c87c0f4c2aa37980675de73deebf",
            )],
            ..PROBE
        },
        Vector {
            name: "OnceHub",
            verify: "secret = \"secret\"\ncontent = \"{timestamp}.{body}\"\nheader = [\"oncehub-signature\"]\nformat = \"pairs\"\nsignature_key = \"s\"\n[inbound.verify.timestamp]\nkey = \"t\"",
            headers: &[(
                "oncehub-signature",
                "t=1760000000,s=9ea310998219d4a96ab458577c7423ca29c0c87c0f4c2aa37980675de73deebf",
            )],
            ..PROBE
        },
        Vector {
            name: "ElevenLabs",
            verify: "secret = \"secret\"\ncontent = \"{timestamp}.{body}\"\nheader = [\"elevenlabs-signature\"]\nformat = \"pairs\"\nsignature_key = \"v0\"\n[inbound.verify.timestamp]\nkey = \"t\"\npast = \"30 minutes\"\nfuture = \"none\"",
            headers: &[(
                "elevenlabs-signature",
                "t=1760000000,v0=9ea310998219d4a96ab458577c7423ca29c0c87c0f4c2aa37980675de73deebf",
            )],
            ..PROBE
        },
        Vector {
            name: "Zoom",
            verify: "secret = \"secret\"\ncontent = \"v0:{timestamp}:{body}\"\nheader = [\"x-zm-signature\"]\nprefix = \"v0=\"\n[inbound.verify.timestamp]\nheader = [\"x-zm-request-timestamp\"]",
            headers: &[
                (
                    "x-zm-signature",
                    "v0=9c847514fa16570f5eb98f03ab4ee164ce22b8f938db4be73c262c63616b07a0",
                ),
                ("x-zm-request-timestamp", "1760000000"),
            ],
            ..PROBE
        },
        Vector {
            name: "Retell, published",
            verify: RETELL_VERIFY,
            secret: "test-api-key",
            headers: &[(
                "x-retell-signature",
                "v=1700000000000,d=07024cabe7dd8f6d1c6e4a8324ca92c812e6ad4a7ee506c04f7e462e3321823e",
            )],
            body: r#"{"event":"call_ended"}"#,
            ..BASE
        },
        Vector {
            name: "Retell, probe",
            verify: RETELL_VERIFY,
            headers: &[(
                "x-retell-signature",
                "v=1760000000000,d=a003086b6f2a15e46630483f73ea775677ec2fb10841d4278292a4c5977211e0",
            )],
            ..PROBE
        },
        Vector {
            name: "Quo, legacy scheme",
            verify: "secret = \"secret\"\nsecret_form = \"base64\"\ncontent = \"{timestamp}.{body}\"\nheader = [\"openphone-signature\"]\nformat = \"fields\"\nsignature_key = \"4\"\nencoding = \"base64\"\n[inbound.verify.timestamp]\nkey = \"3\"\nunit = \"ms\"",
            secret: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            headers: &[(
                "openphone-signature",
                "hmac;1;1760000000000;BFjY+Pi304Ux7nojlLBCeqH3l8sfqt9ERf9zrvdRXY8=",
            )],
            ..PROBE
        },
        Vector {
            name: "Close",
            verify: CLOSE_VERIFY,
            secret: CLOSE_KEY,
            headers: &[
                (
                    "close-sig-hash",
                    "aea19239fa4bd879a385685780747a52b3fb688938840a1472d9abe71e410db6",
                ),
                ("close-sig-timestamp", "1544271440"),
            ],
            body: r#"{"event":{"id":"ev_1"}}"#,
            now: 1_544_271_440_000,
            ..BASE
        },
    ]);
}

const RETELL_VERIFY: &str = "secret = \"secret\"\ncontent = \"{body}{timestamp}\"\nheader = [\"x-retell-signature\"]\nformat = \"pairs\"\nsignature_key = \"d\"\n[inbound.verify.timestamp]\nkey = \"v\"\nunit = \"ms\"";
const CLOSE_KEY: &str = "058bfb6a3d8cfdc4da7c3be5901b16ae11da982b46a25fb2cd7016e97a140a1c";
const CLOSE_VERIFY: &str = "secret = \"secret\"\nsecret_form = \"hex\"\ncontent = \"{timestamp}{body}\"\nheader = [\"close-sig-hash\"]\n[inbound.verify.timestamp]\nheader = [\"close-sig-timestamp\"]";

#[test]
fn close_keyed_with_the_text_of_its_hex_key_is_refused() {
    let inbound = format!("[inbound]\n[inbound.verify]\nkind = \"mac\"\n{CLOSE_VERIFY}");
    let source = source(&inbound, CLOSE_KEY, BASE.url);
    let headers = [
        (
            "close-sig-hash",
            "80fc5634b7cb35910a6251f16280242cfca8ef04ee8ffdf095afca962b9b30f1",
        ),
        ("close-sig-timestamp", "1544271440"),
    ];
    let request = request("POST", "", &headers, br#"{"event":{"id":"ev_1"}}"#);
    let now = Timestamp::from_second(1_544_271_440).unwrap();
    assert!(!accepts(&source, &request, now));
}

#[test]
fn a_dialpad_body_verifies_as_a_jwt() {
    let inbound = "[inbound]\nbody = \"jwt\"\n[inbound.verify]\nkind = \"jwt\"\ntoken = \"body\"\nrequire_exp = false\nsecret = \"secret\"";
    let source = source(inbound, PROBE_SECRET, BASE.url);
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjYWxsX2lkIjoxLCJzdGF0ZSI6Imhhbmd1cCJ9.FFdUV_BXSMghqqkoIgrqRdnLENPblyRERXMwjXAPc_Q";
    let now = Timestamp::UNIX_EPOCH;
    assert!(accepts(
        &source,
        &request("POST", "", &[], token.as_bytes()),
        now
    ));
    for at in 0..token.len() - 1 {
        let mut altered = token.as_bytes().to_vec();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        assert!(
            !accepts(&source, &request("POST", "", &[], &altered), now),
            "byte {at}"
        );
    }
    let unsigned = "eyJhbGciOiJub25lIn0.eyJjYWxsX2lkIjoxfQ.";
    assert!(!accepts(
        &source,
        &request("POST", "", &[], unsigned.as_bytes()),
        now
    ));
}

#[test]
fn a_monday_authorization_verifies_until_it_expires_and_for_its_own_url_only() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhY2NvdW50SWQiOjE4MjU1MjksInVzZXJJZCI6NDAxMjY4OSwiYXVkIjoiaHR0cHM6Ly93d3cueW91cnNlcnZlci5jb20vZW5kcG9pbnQiLCJleHAiOjE2MDY4MDg3NTgsInNob3J0TGl2ZWRUb2tlbiI6IlNIT1JUX0xJVkVEX1RPS0VOX0hFUkUiLCJpYXQiOjE2MDY4MDg0NTh9.iSWADhJWVaqPfBFeh1mnCEofFUeYm2r_MOpqQX2UvUI";
    let inbound = "[inbound]\n[inbound.verify]\nkind = \"jwt\"\ntoken = \"header:authorization\"\nsecret = \"secret\"\naudience = \"{setting.public_url}\"";
    let url = "https://www.yourserver.com/endpoint";
    let own = source(inbound, "monday-signing-secret", url);
    let other = source(
        inbound,
        "monday-signing-secret",
        "https://other.example.com",
    );
    let bearer = format!("Bearer {token}");
    let at = |second| Timestamp::from_second(second).unwrap();
    for (source, header, second, expected) in [
        (&own, token, 1_606_808_500, true),
        (&own, bearer.as_str(), 1_606_808_500, true),
        (&own, token, 1_606_808_758 + 61, false),
        (&other, token, 1_606_808_500, false),
    ] {
        let request = request("POST", "", &[("authorization", header)], b"{}");
        assert_eq!(accepts(source, &request, at(second)), expected, "{second}");
    }
}
