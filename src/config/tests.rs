//! A whole configuration: layers, mistakes with their places, and what the sections say about each other.

use std::time::Duration;

use tempfile::TempDir;

use super::load::{DEFAULTS, defaults};
use super::*;
use crate::diagnostic::Severity;
use crate::model::{Correlation, Deliver, Matcher, Mode, Touch};

struct Directory(TempDir);

impl Directory {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mappings")).unwrap();
        let directory = Self(dir);
        directory.file(FILE_NAME, text);
        directory
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, Vec<Diagnostic>> {
        Config::load(self.0.path(), &env.iter().copied().collect())
    }
}

fn loaded(text: &str, env: &[(&str, &str)]) -> Loaded {
    Directory::with(text).load(env).unwrap()
}

/// Mistakes and warnings as `line:column message | help`.
fn told(diagnostics: &[Diagnostic]) -> Vec<String> {
    let one = |d: &Diagnostic| {
        let place = d
            .position()
            .map_or("-".to_owned(), |(line, column)| format!("{line}:{column}"));
        let help = d.help.as_deref().unwrap_or("-");
        format!("{place} {} | {help}", d.message)
    };
    diagnostics.iter().map(one).collect()
}

fn mistakes(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    told(&Directory::with(text).load(env).unwrap_err())
}

fn one_destination(text: &str) -> Destination {
    loaded(text, &[])
        .config
        .destinations
        .into_values()
        .next()
        .unwrap()
}

#[test]
fn the_compiled_in_file_holds_the_defaults_of_the_code() {
    let read = loaded("", &[]).config;
    assert_eq!(format!("{read:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn every_option_of_the_compiled_in_file_is_explained_above_it() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(explained, "`{line}` has no prose above it");
        }
        explained = line.starts_with("# ");
    }
}

#[test]
fn every_option_that_is_read_stands_in_the_compiled_in_file() {
    // The other options of a destination are those of [delivery].
    const OWN: usize = 12;
    let document = defaults();
    let destination = destination::OPTIONS.iter().skip(OWN);
    for option in destination {
        assert!(
            document.place(&format!("delivery.{option}")).is_some(),
            "{option}"
        );
    }
    for option in source::OPTIONS.iter().chain(&destination::OPTIONS[..OWN]) {
        assert!(
            DEFAULTS.contains(&format!("#   {option} ")),
            "{option} is not described"
        );
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "[server]\nbind = \"127.0.0.1:1\"\nheader_limit = 7\n";
    let env = [("OUTCOME_BRIDGE__SERVER__BIND", "127.0.0.1:2")];
    let loaded = loaded(text, &env);
    assert_eq!(loaded.config.server.bind.port(), 2);
    assert_eq!(loaded.config.server.header_limit, 7);
    assert_eq!(loaded.config.server.body_limit, ByteSize::new(1_000_000));
    let layer = |path: &str| {
        let found = loaded.effective.iter().find(|value| value.path == path);
        found.unwrap().layer.clone()
    };
    assert_eq!(
        layer("server.bind"),
        Layer::Environment(env[0].0.to_owned())
    );
    assert_eq!(layer("server.header_limit"), Layer::File);
    assert_eq!(layer("server.body_limit"), Layer::Default);
}

#[test]
fn every_type_of_option_can_come_from_the_environment() {
    let env = [
        ("OUTCOME_BRIDGE__DELIVERY__ALLOW_NETWORKS", "10.0.0.0/8,::1"),
        ("OUTCOME_BRIDGE__DELIVERY__ALLOW_PRIVATE", "true"),
        ("OUTCOME_BRIDGE__DELIVERY__CONCURRENCY", "3"),
        ("OUTCOME_BRIDGE__DELIVERY__RETRY_FACTOR", "1.5"),
        ("OUTCOME_BRIDGE__DELIVERY__TIMEOUT", "2 minutes"),
        ("OUTCOME_BRIDGE__STORAGE__SEGMENT", "8 MiB"),
    ];
    let config = loaded("", &env).config;
    assert_eq!(config.delivery.allow_networks.len(), 2);
    assert!(config.delivery.allow_private);
    assert_eq!(config.delivery.concurrency.get(), 3);
    assert_eq!(config.delivery.retry_factor, 1.5);
    assert_eq!(config.delivery.timeout, Duration::from_secs(120));
    assert_eq!(config.storage.segment.bytes(), 8 << 20);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = r#"
[server]
bnd = "127.0.0.1:8080"
body_limit = "much"
retention = "3 days"

[delivery]
timeout = 30

[sources.Stripe]
connector = "stripe"

[sources.hubspot]
region = "Mars"
currency = "XXY"

[destinations.phonely]
connector = "phonely"
precedence = "oldest"

[[routes]]
sources = ["hubspott"]
outcomes = ["no-show"]
destinations = ["aura", "phonely"]

[sorces]
"#;
    insta::assert_snapshot!(mistakes(text, &[]).join("\n"), @r#"
    3:1 `server.bnd` is not an option | did you mean `server.bind`?
    4:14 `server.body_limit`: `much` is not a size: write a number and a unit, such as "32 MB" | -
    5:1 `server.retention` is not an option | did you mean `storage.retention`?
    8:11 `delivery.timeout`: must be a duration such as "30 s", not a whole number | -
    10:10 `Stripe` is not a name: use 1 to 64 lower-case letters, digits, `-` or `_`, starting with a letter or digit | -
    13:10 `connector` is missing | name the connector to use; `outcome-bridge connectors list` shows them
    14:10 `sources.hubspot.region`: `Mars` is not a region: use a two-letter country code such as `US` | -
    15:12 `sources.hubspot.currency`: `XXY` is not an ISO 4217 currency code | use three letters, such as "USD"
    19:14 `destinations.phonely.precedence`: `oldest` is not a precedence | use "final_first" or "newest"
    22:12 `routes[0].sources[0]`: there is no source `hubspott` | did you mean `hubspot`?
    23:13 `routes[0].outcomes[0]`: there is no outcome `no-show` | did you mean `no_show`?
    24:17 `routes[0].destinations[0]`: there is no destination `aura` | there are phonely, outcome-store
    26:2 `sorces` is not a section | did you mean `sources`?
    "#);
}

#[test]
fn mistakes_of_syntax_are_told_all_at_once() {
    let found = mistakes("[server]\nbind = \nworkers = 1 2\n[server]\n", &[]);
    assert!(found.len() >= 3, "{found:?}");
    assert!(
        found.iter().all(|one| one.contains("not valid TOML")),
        "{found:?}"
    );
}

#[test]
fn references_are_filled_in_and_missing_ones_are_told_with_their_place() {
    let text = r#"
[sources.stripe]
connector = "stripe"
signing_secret = ["${NEW}", "file:old"]
"#;
    let directory = Directory::with(text);
    directory.file("old", "whsec_old\n");
    let loaded = directory.load(&[("NEW", "whsec_new")]).unwrap();
    let stripe = loaded.config.sources.values().next().unwrap();
    assert_eq!(
        stripe.settings.get("signing_secret"),
        Some(&serde_json::json!(["whsec_new", "whsec_old"]))
    );
    assert_eq!(
        mistakes(text, &[])[0],
        "4:19 `sources.stripe.signing_secret[0]`: the environment variable `NEW` is not set | \
         set NEW; or write `file:PATH` for a secret that stands in a file, `${NEW:-default}` for what is no secret"
    );
    assert!(mistakes(text, &[])[1].contains("old` cannot be read"));
}

#[test]
fn settings_keep_their_types_and_places() {
    let text = r#"
[destinations.phonely]
connector = "phonely"
agent_id = "agent123"
limit = 3
labels = { closed = "Sold" }
timeout = "5 s"
"#;
    let phonely = loaded(text, &[]).config.destinations["phonely"].clone();
    assert_eq!(phonely.settings.get("limit"), Some(&serde_json::json!(3)));
    assert_eq!(
        phonely.settings.get("labels"),
        Some(&serde_json::json!({"closed": "Sold"}))
    );
    assert_eq!(phonely.settings.entries.len(), 3);
    let place = phonely.settings.entries["agent_id"].place.clone().unwrap();
    // What a connector asks for may be secret, so its text is not shown.
    assert_eq!(&place.text[place.span.clone()], "\"********\"");
    assert_eq!(&text[place.span], "\"agent123\"");
    let place = phonely.settings.place.unwrap();
    assert_eq!(&place.text[place.span], "phonely");
    assert_eq!(phonely.delivery.timeout, Duration::from_secs(5));
}

#[test]
fn settings_can_come_from_the_environment() {
    let text = "[sources.hub-spot]\nconnector = \"hubspot\"\nclient_secret = \"file-one\"\n";
    let env = [
        (
            "OUTCOME_BRIDGE__SOURCES__HUB_SPOT__CLIENT_SECRET",
            "one$${X}",
        ),
        ("OUTCOME_BRIDGE__SOURCES__HUB_SPOT__LABELS__CLOSED", "Sold"),
        ("OUTCOME_BRIDGE__SOURCES__NEW__CONNECTOR", "stripe"),
        ("OUTCOME_BRIDGE__SOURCES__NEW__REGION", "us"),
    ];
    let loaded = loaded(text, &env);
    let source = &loaded.config.sources["hub-spot"];
    assert_eq!(
        source.settings.get("client_secret"),
        Some(&serde_json::json!("one$${X}"))
    );
    let place = source.settings.entries["client_secret"].place.as_ref();
    let place = place.expect("the variable is its place");
    // The variable's name is all that a snippet may show of it.
    assert_eq!(place.file.to_str(), Some("environment"));
    assert!(
        place.text.starts_with("OUTCOME_BRIDGE__SOURCES__"),
        "{}",
        place.text
    );
    assert_eq!(
        source.settings.get("labels"),
        Some(&serde_json::json!({"closed": "Sold"}))
    );
    assert!(loaded.config.sources["new"].region.is_some());
    assert!(loaded.warnings.is_empty(), "{:?}", told(&loaded.warnings));
}

#[test]
fn variables_that_set_nothing_are_warned_of() {
    let text = "[sources.stripe]\nconnector = \"stripe\"\n";
    let env = [
        ("OUTCOME_BRIDGE__SERVER__BNID", "1"),
        ("OUTCOME_BRIDGE__SOURCES__STRIP__SECRET", "1"),
        ("OUTCOME_BRIDGE__", "1"),
        ("OUTCOME_BRIDGE_CONFIG", "not ours to judge"),
    ];
    insta::assert_snapshot!(told(&loaded(text, &env).warnings).join("\n"), @r"
    - `OUTCOME_BRIDGE__` sets no option that there is | the form is `OUTCOME_BRIDGE__SECTION__KEY`, e.g. `OUTCOME_BRIDGE__SERVER__BIND`
    - `OUTCOME_BRIDGE__SERVER__BNID` sets no option that there is | did you mean `OUTCOME_BRIDGE__SERVER__BIND`?
    - `OUTCOME_BRIDGE__SOURCES__STRIP__SECRET` belongs to no source that is configured | did you mean the source `stripe`?
    ");
}

#[test]
fn a_variable_that_could_mean_two_entries_is_a_mistake() {
    let text = "[sources.a-b]\nconnector = \"x\"\n[sources.a_b]\nconnector = \"x\"\n";
    let found = mistakes(text, &[("OUTCOME_BRIDGE__SOURCES__A_B__KEY", "1")]);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("could mean any of a-b, a_b"), "{found:?}");
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let found = Directory::with("")
        .load(&[("OUTCOME_BRIDGE__SERVER__BIND", "here")])
        .unwrap_err();
    assert_eq!(found[0].file.to_str(), Some("environment"));
    assert_eq!(
        found[0].context.as_deref(),
        Some("variable OUTCOME_BRIDGE__SERVER__BIND")
    );
    assert_eq!(
        found[0].message,
        "`server.bind`: `here` is not an address to listen on"
    );
}

#[test]
fn secrets_do_not_come_out_in_diagnostics_or_in_the_effective_values() {
    let text = r#"
[admin]
token = "tooshort"
[sources.stripe]
connector = "stripe"
signing_secret = "whsec_literal"
region = "Mars"
"#;
    let found = format!("{:?}", Directory::with(text).load(&[]).unwrap_err());
    assert!(
        !found.contains("tooshort") && !found.contains("whsec_literal"),
        "{found}"
    );
    let text = text
        .replace("tooshort", "0123456789abcdef")
        .replace("Mars", "US");
    let loaded = loaded(&text, &[]);
    let shown = format!("{loaded:?}");
    assert!(
        !shown.contains("whsec_literal") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
    let secret = loaded
        .effective
        .iter()
        .find(|value| value.path.ends_with("signing_secret"));
    assert_eq!(secret.unwrap().value, "set");
}

#[test]
fn rules_are_found_by_the_name_of_their_source() {
    let text = r#"
[sources.stripe]
connector = "stripe"
[sources.crm]
connector = "hubspot"
mapping = "rules/crm.toml"
"#;
    let directory = Directory::with(text);
    directory.file("mappings/stripe.toml", "");
    directory.file("mappings/strip.toml", "");
    let mistakes = told(&directory.load(&[]).unwrap_err());
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("6:11 `sources.crm.mapping`: there is no file"),
        "{mistakes:?}"
    );
    std::fs::create_dir(directory.0.path().join("rules")).unwrap();
    directory.file("rules/crm.toml", "");
    let loaded = directory.load(&[]).unwrap();
    let names = loaded
        .files
        .iter()
        .filter_map(|file| file.file_name()?.to_str());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [FILE_NAME, "crm.toml", "stripe.toml"]
    );
    assert_eq!(
        told(&loaded.warnings),
        [
            "- these rules belong to no source, so they are not used | did you mean the source `stripe`?"
        ]
    );
}

#[test]
fn one_listener_for_both_sides_is_warned_of() {
    let warned = |text: &str| {
        let warnings = told(&loaded(text, &[]).warnings);
        warnings
            .iter()
            .any(|told| told.contains("the admin side listens where webhooks come in"))
    };
    let one = "[server]\nbind = \"0.0.0.0:8080\"\n[admin]\nbind = \"0.0.0.0:8080\"\n";
    assert!(warned(one));
    assert!(!warned("[server]\nbind = \"0.0.0.0:8080\"\n"));
    // Any free port is another one each time.
    assert!(!warned(&one.replace(":8080", ":0")));
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    assert_eq!(loaded("", &[]).warnings.len(), 1);
    let text = r#"
[sources.a]
connector = "a"
verification = "none"
[destinations.idle]
connector = "webhook"
[destinations.used]
connector = "webhook"
[[routes]]
destinations = ["used"]
"#;
    let warnings = loaded(text, &[]).warnings;
    assert!(
        warnings
            .iter()
            .all(|warning| warning.severity == Severity::Warning)
    );
    insta::assert_snapshot!(told(&warnings).join("\n"), @r"
    4:16 its requests are not verified: anybody can forge them | leave `verification` out if the connector can verify
    5:15 no route leads to it, so nothing is sent to it | name it in a route, or set `enabled = false` in [destinations.idle]
    ");
}

#[test]
fn a_destination_has_the_general_options_with_its_own_over_them() {
    let text = "[delivery]\ntimeout = \"9 s\"\nrate_per_second = 5\n[destinations.a]\nconnector = \"webhook\"\nrate_per_second = 0\n";
    let destination = one_destination(text);
    assert_eq!(destination.delivery.timeout, Duration::from_secs(9));
    assert_eq!(destination.delivery.rate_per_second, None);
}

#[test]
fn routes_choose_destinations_and_the_store_gets_everything() {
    let text = r#"
[sources.crm]
connector = "hubspot"
[destinations.a]
connector = "webhook"
[destinations.b]
connector = "webhook"
[destinations.off]
connector = "webhook"
enabled = false
[[routes]]
sources = ["crm"]
outcomes = ["closed", "lost"]
destinations = ["a", "off"]
[[routes]]
outcomes = ["closed"]
destinations = ["b"]
"#;
    let config = loaded(text, &[]).config;
    let to = |source: &str, kind| -> Vec<String> {
        let source = SourceName::new(source).unwrap();
        let found = config.destinations_for(&source, kind);
        found
            .iter()
            .map(|destination| destination.name.to_string())
            .collect()
    };
    assert_eq!(to("crm", OutcomeKind::Closed), ["a", "b", OUTCOME_STORE]);
    assert_eq!(to("crm", OutcomeKind::Lost), ["a", OUTCOME_STORE]);
    assert_eq!(to("other", OutcomeKind::Closed), ["b", OUTCOME_STORE]);
    assert_eq!(to("crm", OutcomeKind::Shown), [OUTCOME_STORE]);
}

#[test]
fn without_routes_everything_goes_everywhere_and_the_store_can_be_turned_off() {
    let text = "[store]\nenabled = false\n[destinations.a]\nconnector = \"webhook\"\n";
    let config = loaded(text, &[]).config;
    let source = SourceName::new("any").unwrap();
    assert_eq!(
        config.destinations_for(&source, OutcomeKind::Shown).len(),
        1
    );
}

#[test]
fn public_urls_are_made_from_the_servers_or_the_sources_own() {
    let text = r#"
[server]
public_url = "https://hooks.example.com/in/"
[sources.a]
connector = "x"
[sources.b]
connector = "x"
public_url = "https://b.example.com/hook"
"#;
    let config = loaded(text, &[]).config;
    let url = |name: &str| config.source_url(&config.sources[name]).to_string();
    assert_eq!(url("a"), "https://hooks.example.com/in/webhooks/a");
    assert_eq!(url("b"), "https://b.example.com/hook");
    let name = SourceName::new("a").unwrap();
    assert_eq!(
        Server::default().webhook_url(&name).as_str(),
        "http://127.0.0.1:8080/webhooks/a"
    );
}

#[test]
fn a_file_that_is_not_there_says_how_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let found = Config::load(dir.path(), &Env::default()).unwrap_err();
    assert_eq!(found[0].file, dir.path().join(FILE_NAME));
    assert!(
        found[0]
            .help
            .as_deref()
            .unwrap()
            .contains("outcome-bridge init")
    );
}

#[test]
fn the_file_itself_may_be_named() {
    let directory = Directory::with("[server]\nheader_limit = 5\n");
    directory.file(
        "other.toml",
        "[server]\nheader_limit = 6\n[admin]\ntoken = \"file:t\"\n",
    );
    directory.file("t", "0123456789abcdef\n");
    let path = directory.0.path().join("other.toml");
    let loaded = Config::load(&path, &Env::default()).unwrap();
    assert_eq!(loaded.config.server.header_limit, 6);
    assert_eq!(loaded.files, [path]);
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let directory = Directory::with("");
    std::fs::write(directory.0.path().join(FILE_NAME), b"a = \"\xff\"").unwrap();
    assert!(mistake_of(&directory).contains("not valid UTF-8"));
}

fn mistake_of(directory: &Directory) -> String {
    told(&directory.load(&[]).unwrap_err()).join("\n")
}

#[test]
fn tables_in_odd_shapes_are_mistakes_and_not_panics() {
    for text in [
        "server = 1",
        "sources = []",
        "sources.a = 1",
        "destinations = \"x\"",
        "routes = 3",
        "routes = [1]",
        "\"a[99999999]\" = 1",
        "[routes]\na = 1",
        "delivery.timeout = {a = 1}",
        "delivery.retry_factor = nan",
        "storage.max_unprocessed = 99999999999999999999999",
    ] {
        assert!(!mistakes(text, &[]).is_empty(), "{text} should be refused");
    }
}

#[test]
fn an_empty_list_does_not_mean_all() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let key = format!("[store.keys.crm]\nhash = \"{hash}\"\n");
    for (text, column, help) in [
        (
            format!("{key}agents = []\n"),
            "3:10",
            "leave it out for the calls of all agents",
        ),
        (
            format!("{key}agents = \"${{NONE:-}}\"\n"),
            "3:10",
            "leave it out for the calls of all agents",
        ),
        (
            format!("{key}apis = []\n"),
            "3:8",
            "leave it out for all APIs",
        ),
        (
            "[store.keys.crm]\nhash = []\n".to_owned(),
            "2:8",
            store::NEW_KEY,
        ),
        (
            "[store.keys.crm]\nhash = \"\"\n".to_owned(),
            "2:8",
            store::NEW_KEY,
        ),
        (
            "[[routes]]\nsources = []\ndestinations = [\"outcome-store\"]\n".to_owned(),
            "2:11",
            "leave it out for all",
        ),
        (
            "[[routes]]\noutcomes = []\ndestinations = [\"outcome-store\"]\n".to_owned(),
            "2:12",
            "leave it out for all",
        ),
    ] {
        let found = mistakes(&text, &[]);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with(column) && one.ends_with(&format!("the list is empty | {help}"))),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_key_that_has_expired_is_warned_about() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let text = format!(
        "[store.keys.old]\nhash = \"{hash}\"\nexpires = \"2020-01-01T00:00:00Z\"\n\
         [store.keys.new]\nhash = \"{hash}\"\nexpires = \"9000-01-01T00:00:00Z\"\n"
    );
    let told = told(&loaded(&text, &[]).warnings);
    let expired: Vec<_> = told.iter().filter(|one| one.contains("expired")).collect();
    assert!(
        matches!(expired.as_slice(), [one] if one.starts_with("3:11 ")),
        "{told:?}"
    );
}

#[test]
fn waits_that_do_not_fit_are_told_once_and_where_they_were_set() {
    let destination =
        "[destinations.a]\nconnector = \"webhook\"\n[destinations.b]\nconnector = \"webhook\"\n";
    let wrong = "the first wait (`retry_first`) is longer than the longest (`retry_cap`)";
    for (text, place) in [
        (
            format!("[delivery]\nretry_first = \"2 hours\"\n{destination}"),
            "2:15",
        ),
        (
            format!("[delivery]\nretry_cap = \"1 s\"\n{destination}"),
            "2:13",
        ),
        (format!("{destination}retry_cap = \"1 s\"\n"), "5:13"),
    ] {
        let found = mistakes(&text, &[]);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with(place) && one.contains(wrong)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn one_port_for_two_listeners_is_found() {
    for (server, admin, ok) in [
        ("0.0.0.0:8080", "127.0.0.1:8080", false),
        ("127.0.0.1:8080", "0.0.0.0:8080", false),
        ("[::]:8080", "127.0.0.1:8080", false),
        ("0.0.0.0:8080", "[::1]:8080", true),
        ("0.0.0.0:8080", "0.0.0.0:8080", true),
        ("0.0.0.0:8080", "127.0.0.1:8081", true),
        ("0.0.0.0:0", "127.0.0.1:0", true),
        ("127.0.0.2:8080", "127.0.0.1:8080", true),
    ] {
        let text = format!("[server]\nbind = \"{server}\"\n[admin]\nbind = \"{admin}\"\n");
        match Directory::with(&text).load(&[]) {
            Ok(_) => assert!(ok, "{text}"),
            Err(found) => {
                let found = told(&found);
                let right = matches!(found.as_slice(), [one] if one.starts_with("4:8 ") && one.contains("in each other's way"));
                assert!(!ok && right, "{text}: {found:?}");
            }
        }
    }
}

#[test]
fn a_variable_replaces_a_reference_that_leads_nowhere() {
    let text = "[sources.a]\nconnector = \"stripe\"\nsigning_secret = [\"${UNSET}\"]\n[admin]\ntoken = \"${UNSET}\"\n";
    let secret = (
        "OUTCOME_BRIDGE__SOURCES__A__SIGNING_SECRET",
        "whsec_1234567890",
    );
    let token = ("OUTCOME_BRIDGE__ADMIN__TOKEN", "0123456789abcdef");
    assert!(Directory::with(text).load(&[secret, token]).is_ok());
    let found = mistakes(text, &[secret]);
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with("5:9 ")),
        "{found:?}"
    );
}

#[test]
fn a_reference_in_the_environment_is_refused_and_words_that_set_nothing_are_told() {
    let found = mistakes("", &[("OUTCOME_BRIDGE__ADMIN__TOKEN", "${TOKEN}")]);
    assert!(
        matches!(found.as_slice(), [one] if one.contains("`OUTCOME_BRIDGE__ADMIN__TOKEN` holds a `${…}`")),
        "{found:?}"
    );
    let env = [
        ("OUTCOME_BRIDGE_SERVER_BIND", "0.0.0.0:1"),
        // Kubernetes sets such a variable for a service of our name.
        ("OUTCOME_BRIDGE_SERVICE_HOST", "10.0.0.1"),
        ("OUTCOME_BRIDGE_CONFIG", "/etc"),
        ("OUTCOME_BRIDGE_URL", "http://b"),
        ("OUTCOME_BRIDGE_TOKEN", "t"),
        ("OUTCOME_BRIDGE_CONNECTORS", "c"),
    ];
    let told = told(&loaded("", &env).warnings).join("\n");
    assert!(told.contains("`OUTCOME_BRIDGE_SERVER_BIND` sets nothing that there is | did you mean `OUTCOME_BRIDGE__SERVER__BIND`?"), "{told}");
    assert_eq!(
        told.matches("OUTCOME_BRIDGE_").count() - told.matches("OUTCOME_BRIDGE__").count(),
        1,
        "{told}"
    );
}

#[test]
fn what_is_nested_without_end_is_refused_without_exhausting_the_stack() {
    for text in [
        format!(
            "[sources.a]\nconnector = \"x\"\nb = {}1{}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!(
            "[sources.a]\nconnector = \"x\"\nb{} = 1",
            ".b".repeat(50_000)
        ),
        format!("[sources{}]", ".b".repeat(50_000)),
    ] {
        assert!(!mistakes(&text, &[]).is_empty());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_read_or_refused_without_panicking(
        text in "(\\[[a-z.\\[\\]]{0,12}\\]\n|[a-z.]{1,8} = [0-9\"a-z\\[\\]{}$,.]{0,10}\n){0,6}"
    ) {
        let _ = Directory::with(&text).load(&[]);
    }
}

#[test]
fn the_example_loads_with_the_variables_that_it_names() {
    let text = include_str!("../../config/example.toml");
    let named: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|word| word.contains('_') && text.contains(&format!("${{{word}}}")))
        .collect();
    let env: Vec<(&str, &str)> = named
        .iter()
        .map(|name| (*name, "https://x.example"))
        .collect();
    let loaded = loaded(text, &env);
    assert!(loaded.warnings.is_empty(), "{:?}", told(&loaded.warnings));
    let config = loaded.config;
    let to = |source: &str, kind| {
        let source = SourceName::new(source).unwrap();
        config.destinations_for(&source, kind).len()
    };
    assert_eq!(to("hubspot", OutcomeKind::Closed), 3);
    assert_eq!(to("calendly", OutcomeKind::NoShow), 2);
    assert_eq!(mistakes(text, &[]).len(), 6);
}

#[test]
fn what_can_be_read_is_examined_further_although_something_is_wrong() {
    let text = r#"
[server]
bind = "nowhere"
[sources.crm]
connector = "hubspot"
client_secret = ["${NOT_SET}", "known"]
region = "Mars"
[sources.broken]
region = "US"
"#;
    let directory = Directory::with(text);
    let examined = Config::examine(directory.0.path(), &Env::default()).unwrap();
    assert_eq!(examined.mistakes.len(), 4, "{:?}", told(&examined.mistakes));
    let config = examined.loaded.config;
    assert_eq!(config.server.bind, Server::default().bind);
    assert_eq!(config.sources.len(), 1);
    let secrets = config.sources["crm"].settings.get("client_secret").unwrap();
    assert!(secrets[0].is_string() && secrets[1] == "known");
}

#[test]
fn a_destination_says_how_its_calls_are_found_and_which_revisions_it_gets() {
    let text = r#"
[sources.agents]
connector = "call2me"
grace = "30 minutes"
infer_shown = false
[destinations.aura]
connector = "aura"
mode = "each"
deliver = "final"
final_after = "3 days"
match = ["field", "phone"]
touch = "only"
look_back = "90 days"
wait = "1 day"
calls = ["agents"]
"#;
    let config = loaded(text, &[]).config;
    let source = &config.sources["agents"];
    assert_eq!((source.grace.as_mins(), source.infer_shown), (30, false));
    let aura = &config.destinations["aura"];
    assert_eq!(aura.mode, Some(Mode::Each));
    assert_eq!(
        aura.deliver,
        Deliver::Final(jiff::SignedDuration::from_hours(72))
    );
    let found = &aura.correlation;
    assert_eq!(found.matchers, [Matcher::Field, Matcher::Phone]);
    assert_eq!(found.touch, Touch::Only);
    assert_eq!(
        (found.look_back.as_hours(), found.wait.as_hours()),
        (90 * 24, 24)
    );
    assert_eq!(found.calls.as_ref().unwrap().len(), 1);

    let usual = one_destination("[destinations.a]\nconnector = \"aura\"\n");
    assert_eq!(usual.deliver, Deliver::Current);
    assert_eq!(usual.correlation, Correlation::default());
    let held = "[destinations.a]\nconnector = \"aura\"\ndeliver = \"final\"\n";
    assert_eq!(
        one_destination(held).deliver,
        Deliver::Final(Deliver::FINAL_AFTER)
    );
}

#[test]
fn mistakes_in_how_calls_are_found_are_told_with_a_remedy() {
    let text = r#"
[sources.admin]
connector = "stripe"
[sources.agents]
connector = "call2me"
grace = "100 days"
[destinations.aura]
connector = "aura"
mode = "eech"
deliver = "later"
final_after = "1 day"
match = ["fone", "email"]
touch = "lst"
calls = ["agent"]
[destinations.b]
connector = "aura"
match = ["phone", "phone"]
"#;
    insta::assert_snapshot!(mistakes(text, &[]).join("\n"), @r#"
    2:10 no source can be called `admin`: corrections by hand and imports have that name | choose another name; it is part of the source's URL
    6:9 `sources.agents.grace`: must be from 0s to 31 days | -
    9:8 `destinations.aura.mode`: `eech` is not a mode | did you mean "each"?
    10:11 `destinations.aura.deliver`: `later` is not a way to deliver | use one of current, final
    12:9 `destinations.aura.match`: `fone` is not a way of finding a call | use one of field, booking, deal, contact, phone, email
    13:9 `destinations.aura.touch`: `lst` is not a touch | did you mean "last"?
    14:10 `destinations.aura.calls[0]`: there is no source `agent` | did you mean `agents`?
    17:9 `destinations.b.match`: `phone` stands there twice | they are tried in this order, each once
    "#);
}

#[test]
fn conditions_of_routes_are_read_with_their_places() {
    let text = r#"
[destinations.a]
connector = "webhook"
[[routes]]
when = [{ field = "outcome.value", over = 100 }, { field = "outcome.metadata.plan", is = "${PLAN}" }]
condition = { field = "source", operator = "!=", value = "trial" }
destinations = ["a"]
"#;
    let config = loaded(text, &[("PLAN", "gold")]).config;
    let paths: Vec<&str> = config.routes[0]
        .when
        .paths()
        .map(crate::mapping::Path::as_str)
        .collect();
    assert_eq!(
        paths,
        ["outcome.value", "outcome.metadata.plan", "outcome.source"]
    );
    assert!(format!("{:?}", config.routes[0].when).contains("gold"));

    // As Call2Me writes them: what no outcome has is a value of the vendor's own.
    for (field, path) in [
        ("follow_up_required", "outcome.metadata.follow_up_required"),
        ("metadata.interest", "outcome.metadata.interest"),
        ("interest.level", "outcome.metadata.interest.level"),
        ("outcome.kind", "outcome.kind"),
    ] {
        let text = format!(
            "[destinations.a]\nconnector = \"webhook\"\n[[routes]]\ndestinations = [\"a\"]\n\
             condition = {{ field = \"{field}\", operator = \"==\", value = true }}\n"
        );
        let config = loaded(&text, &[]).config;
        let read = config.routes[0]
            .when
            .paths()
            .next()
            .map(crate::mapping::Path::as_str);
        assert_eq!(read, Some(path));
    }

    let text = r#"
[destinations.a]
connector = "webhook"
[[routes]]
when = [
  { field = "outcome.valu", over = 100 },
  { field = "event.id", is = 1 },
  { field = "outcome.value", ovr = 1 },
]
condition = { field = "outcome.follow_up_required", operator = "=", value = true }
destinations = ["a"]
[[routes]]
when = "outcome.value > 100"
condition = { field = "valu", operator = "==", value = true }
destinations = ["a"]
"#;
    insta::assert_snapshot!(mistakes(text, &[]).join("\n"), @r#"
    6:13 an outcome has no `valu` | did you mean `value`? a value of your own is `metadata.valu`
    7:14 `event` is not a known source | a field path starts with one of: outcome
    8:30 there is no operator called `ovr` | did you mean `over`?
    10:23 an outcome has no `follow_up_required` | there are kind, label, value, currency, notes, metadata, call_id, phone, email, booking_id, deal_id, contact_id, agent_id, occurred_at, basis, source, event, rule; a value of your own is `metadata.follow_up_required`
    10:64 there is no operator called `=` | did you mean "=="? for more, write `when` with rows such as { field = "outcome.value", over = 100 }
    13:8 conditions must be a list of rows | write [{ field = "event.type", is = "invoice.paid" }]
    14:23 an outcome has no `valu` | did you mean `value`? a value of your own is `metadata.valu`
    "#);
}

#[test]
fn actions_are_destinations_of_their_own_that_routes_name_together() {
    let text = r#"
[sources.agents]
connector = "call2me"
[destinations.back]
connector = "call2me"
api_key = "k"
timeout = "5 s"
[[destinations.back.actions]]
type = "schedule_call"
name = "Auto follow-up!"
condition = { field = "kind", operator = "==", value = "follow_up" }
config = { use_field = "follow_up_date", fallback_delay_minutes = 1440 }
[[destinations.back.actions]]
type = "webhook"
config = { url = "https://a.example" }
[[destinations.back.actions]]
type = "webhook"
mode = "newest"
config = { url = "https://b.example" }
[destinations.other]
connector = "webhook"
[[routes]]
destinations = ["back"]
[[routes]]
sources = ["agents"]
outcomes = ["lost"]
destinations = ["other"]
"#;
    let config = loaded(text, &[]).config;
    let names: Vec<&str> = config
        .destinations
        .keys()
        .map(DestinationName::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "back-auto-follow-up",
            "back-webhook",
            "back-webhook-2",
            "other",
            OUTCOME_STORE
        ]
    );
    let first = &config.destinations["back-auto-follow-up"];
    assert_eq!(first.delivery.timeout, Duration::from_secs(5));
    assert_eq!(first.when.paths().count(), 1);
    let set = |key: &str| first.settings.get(key).cloned();
    assert_eq!(set("action"), Some("schedule_call".into()));
    assert_eq!(set("api_key"), Some("k".into()));
    assert_eq!(set("fallback_delay_minutes"), Some(1440.into()));
    assert_eq!(
        config.destinations["back-webhook-2"].mode,
        Some(Mode::Newest)
    );
    let source = SourceName::new("agents").unwrap();
    assert_eq!(
        config.destinations_for(&source, OutcomeKind::Shown).len(),
        4
    );
    assert_eq!(config.destinations_for(&source, OutcomeKind::Lost).len(), 5);
}

#[test]
fn mistakes_in_actions_are_told_with_their_places() {
    let text = r#"
[destinations.back]
connector = "call2me"
[[destinations.back.actions]]
condition = { field = "knd", operator = "==", value = "follow_up" }
[[destinations.back.actions]]
type = "webhook"
url = "https://a.example"
[destinations.back-webhook]
connector = "webhook"
[destinations.none]
connector = "call2me"
actions = []
"#;
    insta::assert_snapshot!(mistakes(text, &[]).join("\n"), @r#"
    2:15 there are two destinations `back-webhook` | give the action another `name`, or the other destination
    4:1 `type` is missing | say what is to be done, such as "webhook"
    5:23 an outcome has no `knd` | did you mean `kind`? a value of your own is `metadata.knd`
    8:1 `destinations.back.actions[1].url` is not an option | the options here are condition, config, mode, name, type, when
    13:11 `destinations.none.actions`: nothing would be done there | name at least one action, or leave `actions` out
    "#);
}

#[test]
fn tables_have_their_rows_here_or_in_a_file() {
    let text = r#"
[tables.agents]
"New York" = "ag_1"
Berlin = 7
[tables.reps]
file = "reps.csv"
key = "id"
value = "name"
[tables.words]
file = "words.toml"
"#;
    let directory = Directory::with(text);
    directory.file("reps.csv", "id,name\n");
    directory.file("words.toml", "");
    let loaded = directory.load(&[]).unwrap();
    let tables = &loaded.config.tables;
    assert!(
        matches!(&tables["agents"].rows, Rows::Inline(rows) if rows["New York"] == "ag_1" && rows["Berlin"] == "7")
    );
    assert!(
        matches!(&tables["reps"].rows, Rows::Csv { key, value, .. } if key == "id" && value == "name")
    );
    assert!(matches!(&tables["words"].rows, Rows::Toml(_)));
    assert_eq!(loaded.files.len(), 3);

    let text = r#"
[tables.agents]
Berlin = ["ag_1"]
[tables.reps]
file = "reps.csv"
kee = "id"
[tables.gone]
file = "gone.csv"
[tables.sheet]
file = "sheet.xls"
[tables.columns]
file = "gone.csv"
key = "id"
value = "name"
"#;
    let directory = Directory::with(text);
    directory.file("reps.csv", "id,name\n");
    let found = told(&directory.load(&[]).unwrap_err()).join("\n");
    let found = found.replace(&directory.0.path().display().to_string(), "DIR");
    insta::assert_snapshot!(found, @r#"
    3:10 `tables.agents.Berlin`: must be text in quotes, not a list | -
    4:9 `key` is missing | name a column of the file's first line: key = "location"
    4:9 `value` is missing | name a column of the file's first line: value = "agent"
    6:1 `tables.reps.kee` is not an option | did you mean `tables.reps.key`?
    7:9 `key` is missing | name a column of the file's first line: key = "location"
    7:9 `value` is missing | name a column of the file's first line: value = "agent"
    8:8 `tables.gone.file`: there is no file `DIR/gone.csv` | the path is relative to the configuration directory
    10:8 `tables.sheet.file`: tables are read from `.csv` and `.toml` files | name such a file, relative to the configuration directory
    12:8 `tables.columns.file`: there is no file `DIR/gone.csv` | the path is relative to the configuration directory
    "#);
}

#[test]
fn viewers_have_a_token_of_their_own() {
    let two = "[admin]\ntoken = \"0123456789abcdef\"\nviewer_token = \"fedcba9876543210\"\n";
    let admin = loaded(two, &[]).config.admin;
    assert!(
        admin
            .viewer_token
            .is_some_and(|token| token.matches(b"fedcba9876543210"))
    );
    assert!(loaded("", &[]).config.admin.viewer_token.is_none());
    let same = two.replace("fedcba9876543210", "0123456789abcdef");
    assert_eq!(
        mistakes(&same, &[]),
        [
            "3:16 `admin.viewer_token`: the same as `token`, which may change everything | give viewers a token of their own"
        ]
    );
}
