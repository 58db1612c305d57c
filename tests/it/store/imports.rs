//! Files that are brought in: of every make, with mistakes, twice, and on from where they stopped.

use serde_json::{Value, json};

use super::setup;
use crate::support::{ADMIN_TOKEN, Answer, FakeDestination, Finished, TestBridge, run, write};

struct Import<'a> {
    bridge: &'a TestBridge,
    /// Where it is sent.
    url: String,
}

impl Import<'_> {
    fn into(bridge: &TestBridge) -> Import<'_> {
        Import {
            url: bridge.admin_url(),
            bridge,
        }
    }

    /// Imports a file of this name and content; answers what was said, and the rejected rows.
    fn file(
        &self,
        what: &str,
        name: &str,
        content: impl AsRef<[u8]>,
        more: &[&str],
    ) -> (Finished, Vec<Value>) {
        let home = self.bridge.home();
        let [file, token, rejects] = [name, "token", "rejects.jsonl"].map(|name| home.join(name));
        write(&file, content);
        write(&token, ADMIN_TOKEN);
        let paths = [&file, &token, &rejects].map(|path| path.display().to_string());
        let mut words = vec![
            what,
            "import",
            &paths[0],
            "--url",
            &self.url,
            "--token-file",
            &paths[1],
        ];
        words.extend(["--rejects", &paths[2], "--json"]);
        words.extend(more);
        let finished = run(words);
        let rejected = std::fs::read_to_string(&rejects).unwrap_or_default();
        let rows = rejected
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        (finished, rows.collect())
    }
}

fn lines(rejected: &[Value]) -> Vec<u64> {
    rejected
        .iter()
        .map(|row| row["line"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_come_from_files_of_every_make() {
    let bridge = setup().start().await;
    let import = Import::into(&bridge);
    let csv = "\u{feff}call_id;agent_id;transcript;metadata.campaign\r\n\
               c1;a;\"two\r\nlines; and more\";spring\r\n\
               c2;a;;\r\n";
    let (done, rejected) = import.file("calls", "a.csv", csv, &[]);
    assert_eq!((done.code, rejected.len()), (0, 0), "{done:?}");
    assert_eq!(done.json()["created"], 2);
    let jsonl =
        "\u{feff}{\"call_id\":\"c3\",\"agent_id\":\"a\"}\r\n\r\nnot json\r\n{\"call_id\":\"c4\"}";
    let (done, rejected) = import.file("calls", "b.jsonl", jsonl, &[]);
    assert_eq!((done.code, lines(&rejected)), (2, vec![3]), "{done:?}");
    assert_eq!(done.json()["created"], 2);
    let found = bridge.get("/calls?call=c1").await["items"][0].clone();
    assert_eq!(found["metadata"]["campaign"], "spring");
    // A column that no call has, or one that each must have and is missing: each row says so.
    for (csv, reason) in [
        ("call_id,agnt_id\nc5,a\nc6,b\n", "did you mean `agent_id`?"),
        ("agent_id\na\nb\n", "`call_id` is missing"),
    ] {
        let (done, rejected) = import.file("calls", "c.csv", csv, &[]);
        assert_eq!((done.code, lines(&rejected)), (2, vec![2, 3]), "{done:?}");
        let told = rejected[0]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
    }
    let (done, rejected) = import.file(
        "calls",
        "d.csv",
        b"call_id,agent_id\nc7,caf\xe9\nc8,b\n",
        &[],
    );
    assert_eq!((done.code, lines(&rejected)), (2, vec![2]), "{done:?}");
    assert!(rejected[0]["reason"].as_str().unwrap().contains("UTF-8"));
    // Whoever rejects a row, all are told in the order of the file; a quote that is never closed ends it.
    let csv = "call_id,agent_id\n,a\ntoo,many,cells\n,b\nc9,a\nc10,\"a\nc11,b\nc12,b\n";
    let (done, rejected) = import.file("calls", "f.csv", csv, &[]);
    assert_eq!(
        (done.code, lines(&rejected)),
        (2, vec![2, 3, 4, 6]),
        "{done:?}"
    );
    assert_eq!(done.json()["created"], 1);
    let told = rejected[3]["reason"].as_str().unwrap();
    assert!(told.contains("the quote that opens in line 6"), "{told}");
    let (done, _) = import.file("calls", "e.csv", b"\xff\xfec\0a\0", &[]);
    assert!(done.code != 0 && done.stderr.contains("UTF-16"), "{done:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_come_once_whatever_rows_are_wrong_and_however_often_the_file_comes() {
    let to = FakeDestination::start().await;
    to.otherwise(Answer::ok());
    let bridge = setup().webhook("elsewhere", &to, "").start().await;
    let import = Import::into(&bridge);
    let csv = "outcome,occurred_at,call_id,email,value,currency,metadata.rep,notes\n\
               closed,2026-05-02T10:00:00Z,c1,,\"1,234.50\",usd,7,\"said\nyes\"\n\
               won,2026-05-02T10:00:00Z,c2,,,,,\n\
               shown,2026-05-02T11:00:00Z,,no-address,,,,\n\
               shown,2026-05-02T11:00:00Z,,,,,,\n\
               lost,yesterday,c3,,,,,\n\
               no_show,2026-05-02T12:00:00Z,c4,,,,,\n\
               lost,2226-05-02T12:00:00Z,c5,,,,,\n";
    let (done, rejected) = import.file("outcomes", "o.csv", csv, &[]);
    assert_eq!(
        (done.code, lines(&rejected)),
        (2, vec![4, 5, 6, 7, 9]),
        "{done:?}"
    );
    assert_eq!(done.json()["accepted"], 2, "{done:?}");
    bridge.idle().await;
    let seen = async || {
        let page = bridge.get("/outcomes").await;
        let mut items = page["items"].as_array().unwrap().clone();
        items.sort_by_key(|item| item["call_id"].to_string());
        items
    };
    let first = seen().await;
    assert_eq!(first.len(), 2);
    assert_eq!(
        (
            &first[0]["value"],
            &first[0]["metadata"],
            &first[0]["revision"]
        ),
        (&json!("1234.50"), &json!({ "rep": "7" }), &json!(1))
    );
    // The same file again, and then with one row more: nobody hears of the old ones again.
    let (done, _) = import.file("outcomes", "o.csv", csv, &[]);
    assert_eq!(done.code, 2);
    bridge.idle().await;
    assert_eq!(seen().await, first);
    assert_eq!(
        to.rest().await.len(),
        2,
        "each reached every destination once"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_stops_tells_what_it_did_and_goes_on_from_there() {
    let bridge = setup().start().await;
    let broken = FakeDestination::start().await;
    let taken = json!({ "created": 999, "updated": 0, "unchanged": 0, "rejected": [{ "index": 0, "reason": "no" }] });
    broken.answer(Answer::new(200).json(&taken));
    broken.answer(Answer::new(507).json(&json!({ "detail": "the disk is full" })));
    let rows: String = (0..1_500).map(|n| format!("c{n}\n")).collect();
    let csv = format!("call_id\n{rows}");
    let stopping = Import {
        bridge: &bridge,
        url: broken.url(),
    };
    let (done, rejected) = stopping.file("calls", "c.csv", &csv, &[]);
    assert!(done.code != 0, "{done:?}");
    assert_eq!(lines(&rejected), [2]);
    assert_eq!(done.json()["created"], 999);
    assert!(done.stderr.contains("the disk is full"), "{done:?}");
    assert!(done.stderr.contains("--from-line 1002"), "{done:?}");
    let (done, _) = Import::into(&bridge).file("calls", "c.csv", &csv, &["--from-line", "1002"]);
    assert_eq!(
        (done.code, &done.json()["created"]),
        (0, &json!(500)),
        "{done:?}"
    );
    let (done, _) = Import::into(&bridge).file("calls", "c.csv", &csv, &[]);
    assert_eq!(
        (&done.json()["created"], &done.json()["unchanged"]),
        (&json!(1_000), &json!(500))
    );
    bridge.stop().await;
}
