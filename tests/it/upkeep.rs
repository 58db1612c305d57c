//! Backup, restore and doctor, by the command line: beside a running bridge, and over data that was damaged.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::{
    Answer, FakeDestination, Finished, Setup, TestBridge, minutes_ago, run, told, worth,
};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A command about the data of a configuration.
fn about(config: &Path, arguments: &[&str]) -> Finished {
    let config = text(config);
    let mut all = vec!["--json"];
    all.extend(arguments);
    all.extend(["--config", &config]);
    run(all)
}

/// What a bridge knows, whoever runs it.
async fn known(bridge: &TestBridge) -> Vec<Value> {
    let mut all = Vec::new();
    for id in bridge.event_ids().await {
        let mut story = bridge.get(&format!("/events/{id}")).await;
        // Times of attempts differ when something is delivered again.
        story["deliveries"].take();
        all.push(story);
        all.push(bridge.get(&format!("/events/{id}/raw")).await);
    }
    all.push(bridge.get("/outcomes?limit=1000").await);
    all
}

async fn filled(events: usize) -> TestBridge {
    let bridge = Setup::new().with_store().start().await;
    for n in 0..events {
        let call = format!("call-{}", n % 7);
        let value = format!("{n}.50");
        let at = minutes_ago(1000 - n as i64);
        let reply = bridge
            .post("team", worth(&call, "closed", at, &value).to_string())
            .await;
        assert_eq!(reply.status, 200);
    }
    bridge.idle().await;
    bridge
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file and directory below.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Lengths, bytes and times of change.
fn fingerprint(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let all = below(dir).into_iter();
    all.map(|path| {
        let found = std::fs::metadata(&path).unwrap();
        (path, found.len(), found.modified().unwrap())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_bridge_restores_to_the_same() {
    let bridge = filled(60).await;
    let before = known(&bridge).await;
    let dest = bridge.home().join("backup");
    let made = about(&bridge.config_dir(), &["backup", &text(&dest)]);
    assert_eq!(made.code, 0, "{made:?}");
    let told_of = made.json();
    assert_eq!(told_of["outcome_store"], true, "{told_of}");
    assert_eq!(told_of["problems"], json!([]));
    for path in below(&dest) {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{path:?}");
    }
    assert_eq!(mode(&dest), 0o700);
    // The bridge goes on; what comes now is not in the backup.
    bridge
        .hear("team", &told("late", "shown", minutes_ago(1)))
        .await;
    bridge.idle().await;

    let data = bridge.data_dir();
    let again = about(&bridge.config_dir(), &["restore", &text(&dest)]);
    assert_eq!(again.code, 1, "it is not empty: {again:?}");
    assert!(again.stderr.contains("mv "), "{again:?}");

    let setup = bridge.stop().await;
    std::fs::rename(&data, data.with_extension("old")).unwrap();
    let restored = about(&setup.config_dir(), &["restore", &text(&dest)]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(restored.json()["events"], 60);
    assert_eq!(mode(&data), 0o700);
    let bridge = TestBridge::again(setup).await;
    let report = bridge.report();
    assert!(report.clean && !report.rebuilt, "{report:?}");
    assert_eq!(known(&bridge).await, before);
    bridge
        .hear("team", &told("new", "shown", minutes_ago(1)))
        .await;
    let sound = about(&bridge.config_dir(), &["doctor"]);
    assert_eq!(sound.code, 0, "beside a running bridge: {sound:?}");
    assert_eq!(sound.json()["queue"]["index"]["state"], "in_use");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_under_load_hold_what_was_acknowledged_before_they_began() {
    let destination = FakeDestination::start().await;
    destination.otherwise(Answer::ok());
    let bridge = Setup::new()
        .with_store()
        .webhook("crm", &destination, "")
        .start()
        .await;
    // Segments of 1 MB are left while they are copied.
    let notes = "n".repeat(60_000);
    for round in 0..4 {
        let before = bridge.event_ids().await;
        let dest = bridge.home().join(format!("backup-{round}"));
        let config = bridge.config_dir();
        let (config, place) = (config.clone(), text(&dest));
        let copying = tokio::task::spawn_blocking(move || about(&config, &["backup", &place]));
        let mut n = 0;
        while !copying.is_finished() {
            let mut body = told(&format!("{round}-{n}"), "shown", minutes_ago(5));
            body["notes"] = json!(notes);
            assert_eq!(bridge.post("team", body.to_string()).await.status, 200);
            n += 1;
        }
        let made = copying.await.unwrap();
        assert_eq!(made.code, 0, "{made:?}");
        let copy = bridge.home().join(format!("copy-{round}"));
        let restored = run(["--json", "restore", &text(&dest), "--data", &text(&copy)]);
        assert_eq!(restored.code, 0, "{restored:?}");
        assert!(restored.json()["events"].as_u64().unwrap() >= before.len() as u64);
        let sound = run(["--json", "doctor", "--data", &text(&copy)]);
        assert_eq!(sound.code, 0, "{sound:?}");
        assert_eq!(sound.json()["queue"]["index"]["state"], "sound");
        assert_eq!(sound.json()["queue"]["unreadable_events"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_whole_is_refused() {
    let setup = filled(5).await.stop().await;
    let home = setup.config_dir().parent().unwrap().to_owned();
    let config = setup.config_dir();
    let dest = home.join("backup");
    let made = about(&config, &["backup", &text(&dest)]);
    assert_eq!(made.code, 0, "of a stopped bridge: {made:?}");
    assert_eq!(
        about(&config, &["backup", &text(&dest)]).code,
        1,
        "it is taken"
    );
    let inside = about(&config, &["backup", &text(&home.join("data/backup"))]);
    assert_eq!(inside.code, 1);
    assert!(inside.stderr.contains("outside"), "{inside:?}");

    let copy = text(&home.join("copy"));
    let restore = || run(["restore", &text(&dest), "--data", &copy]);
    let segment = below(&dest.join("journal")).remove(0);
    let bytes = std::fs::read(&segment).unwrap();
    let mut altered = bytes.clone();
    altered[1000] ^= 1;
    std::fs::write(&segment, &altered).unwrap();
    let refused = restore();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("has changed"), "{refused:?}");
    assert!(!Path::new(&copy).exists(), "nothing was begun");
    std::fs::write(&segment, &bytes).unwrap();

    let manifest = dest.join("backup.json");
    let kept = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    assert!(restore().stderr.contains("not a whole backup"));
    // Names in it do not lead out of the directory.
    let mut document: Value = serde_json::from_slice(&kept).unwrap();
    document["files"]["../escaped"] = json!({ "bytes": 0, "sha256": "" });
    std::fs::write(&manifest, document.to_string()).unwrap();
    assert!(restore().stderr.contains("not a whole backup"));
    std::fs::write(&manifest, &kept).unwrap();
    assert_eq!(restore().code, 0);

    // A restore that was interrupted is not taken for data.
    std::fs::write(home.join("copy/restoring"), "").unwrap();
    let refused = run(["doctor", "--repair", "--data", &copy]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("restore"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_nothing_wrong_and_changes_nothing() {
    let setup = filled(30).await.stop().await;
    let data = setup.config_dir().parent().unwrap().join("data");
    let before = fingerprint(&data);
    let looked = about(&setup.config_dir(), &["doctor"]);
    assert_eq!(looked.code, 0, "{looked:?}");
    let found = looked.json();
    assert_eq!(found["sound"], true, "{found}");
    assert_eq!(found["queue"]["index"]["state"], "sound");
    assert_eq!(found["queue"]["events"], 30);
    assert_eq!(found["outcome_store"]["calls"], 7);
    assert_eq!(fingerprint(&data), before);
    let running = TestBridge::again(setup).await;
    let refused = about(&running.config_dir(), &["doctor", "--repair"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("in use"), "{refused:?}");
}

/// Damages a file in a way that depends on the seed; answers how.
fn damage(path: &Path, random: &mut StdRng) -> String {
    let bytes = std::fs::read(path).unwrap();
    // Prepared segments are zeros at their end, which nobody would miss.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let at = random.random_range(0..used);
    match random.random_range(0..3) {
        0 => {
            file.write_all_at(&[bytes[at] ^ (1 << random.random_range(0..8))], at as u64)
                .unwrap();
            format!("flipped a bit of byte {at} of {used} in {path:?}")
        }
        1 => {
            file.set_len(at as u64).unwrap();
            format!("cut {path:?} from {used} to {at}")
        }
        _ => {
            let end = (at + 4096).min(bytes.len());
            file.write_all_at(&vec![0; end - at], at as u64).unwrap();
            format!("zeroed {at} to {end} of {used} in {path:?}")
        }
    }
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copied(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Whatever is damaged, the doctor tells, repairs what can be, and afterwards finds nothing more; and the bridge
/// starts without a doctor as well. `OUTCOME_BRIDGE_SOAK=n` tries n times as many places.
#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_is_told_and_repaired_and_never_keeps_it_from_starting() {
    let setup = filled(150).await.stop().await;
    let home = setup.config_dir().parent().unwrap().to_owned();
    let data = home.join("data");
    let good = home.join("good");
    copied(&data, &good);
    let soak = std::env::var("OUTCOME_BRIDGE_SOAK").map_or(1, |n| n.parse::<u64>().unwrap());
    let mut setup = Some(setup);
    let mut told_of = 0;
    for seed in 0..24 * soak {
        let mut random = StdRng::seed_from_u64(seed);
        std::fs::remove_dir_all(&data).unwrap();
        copied(&good, &data);
        let files: Vec<PathBuf> = below(&data)
            .into_iter()
            .filter(|path| {
                let name = path.to_string_lossy();
                path.is_file()
                    && std::fs::metadata(path).unwrap().len() > 0
                    && !name.ends_with("lock")
            })
            .collect();
        let file = &files[random.random_range(0..files.len())];
        let what = format!("seed {seed}: {}", damage(file, &mut random));
        let config = setup.as_ref().unwrap().config_dir();
        let before = fingerprint(&data.join("journal"));
        let looked = about(&config, &["doctor"]);
        assert!([0, 2].contains(&looked.code), "{what} {looked:?}");
        told_of += u32::from(looked.code == 2);
        assert_eq!(fingerprint(&data.join("journal")), before, "{what}");
        if seed % 2 == 0 {
            let repaired = about(&config, &["doctor", "--repair"]);
            assert_eq!(repaired.code, 0, "{what} {repaired:?}");
            let unreadable = looked.json()["queue"]["unreadable_events"].clone();
            let again = about(&config, &["doctor"]);
            let found = again.json();
            assert_eq!(found["queue"]["damaged_bytes"], 0, "{what} {found}");
            assert_eq!(found["queue"]["index"]["state"], "sound", "{what} {found}");
            assert_eq!(found["queue"]["loose_rows"], 0, "{what} {found}");
            assert!(
                found["queue"]["unreadable_events"].as_u64() <= unreadable.as_u64(),
                "{what} {looked:?} {repaired:?} {found}"
            );
        }
        let bridge = TestBridge::again(setup.take().unwrap()).await;
        bridge
            .hear("team", &told("afterwards", "shown", minutes_ago(1)))
            .await;
        assert!(!bridge.event_ids().await.is_empty(), "{what}");
        setup = Some(bridge.stop().await);
    }
    assert!(told_of > 0, "some of it was damage");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_repair_that_lost_something_the_doctor_does_not_ask_for_another() {
    let setup = filled(20).await.stop().await;
    let home = setup.config_dir().parent().unwrap().to_owned();
    let journal = below(&home.join("data/journal"));
    let first = journal.iter().min().unwrap();
    let bytes = std::fs::read(first).unwrap();
    // The body of an event: nothing else has it.
    let body = b"call-3";
    let at = bytes.windows(body.len()).position(|some| some == body);
    let file = std::fs::OpenOptions::new().write(true).open(first).unwrap();
    file.write_all_at(b"CALL-3", at.unwrap() as u64).unwrap();
    let data = text(&home.join("data"));
    let examined = run(["doctor", "--data", &data]);
    assert_eq!(examined.code, 2, "{examined:?}");
    assert!(examined.stderr.contains("doctor --repair"), "{examined:?}");
    let repaired = run(["doctor", "--repair", "--data", &data]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let again = run(["doctor", "--data", &data]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stdout.contains("DO NOT READ"), "{again:?}");
    assert!(!again.stderr.contains("--repair"), "{again:?}");
    assert!(again.stderr.contains("a backup may have it"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outcome_store_holds_nothing_up_and_is_rebuilt() {
    let bridge = filled(40).await;
    let before = bridge.get("/outcomes?limit=1000").await;
    let setup = bridge.stop().await;
    let store = setup
        .config_dir()
        .parent()
        .unwrap()
        .join("data/outcomes.sqlite");
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[..100].fill(7);
    std::fs::write(&store, &bytes).unwrap();
    let bridge = TestBridge::again(setup).await;
    bridge
        .hear("team", &told("meanwhile", "shown", minutes_ago(1)))
        .await;
    let request = bridge.admin(reqwest::Method::GET, "/health/ready");
    let ready: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["status"], "ready", "{ready}");
    assert_eq!(ready["outcome_store"]["ready"], false, "{ready}");
    let looked = about(&bridge.config_dir(), &["doctor"]);
    assert_eq!(looked.code, 2, "{looked:?}");
    let made = about(
        &bridge.config_dir(),
        &["backup", &text(&bridge.home().join("partial"))],
    );
    assert_eq!(
        made.code, 2,
        "the queue is backed up all the same: {made:?}"
    );

    let setup = bridge.stop().await;
    let repaired = about(&setup.config_dir(), &["doctor", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let aside = repaired.json()["store_set_aside"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(std::fs::read(aside).unwrap(), bytes);
    let bridge = TestBridge::again(setup).await;
    let config = text(&bridge.config_dir());
    let url = bridge.admin_url();
    let rebuild = || {
        run([
            "--json", "outcomes", "rebuild", "--config", &config, "--url", &url,
        ])
    };
    let rebuilt = rebuild();
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    bridge.idle().await;
    let after = bridge.get("/outcomes?limit=1000").await;
    let essence = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        let mut all: Vec<_> = items
            .filter(|item| item["call_id"] != "meanwhile")
            .map(|item| (item["call_id"].to_string(), item["value"].to_string()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(essence(&after), essence(&before));
    assert_eq!(rebuild().json()["written"], 0, "nothing is written twice");
}
