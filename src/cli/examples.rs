//! Examples of every command. Its help begins with them: most people look for a line to copy.

/// Commands by their names, each with lines to copy. The empty name is `outcome-bridge` itself.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "outcome-bridge demo                                     # see it work, nothing to configure",
            "outcome-bridge init ./config --connector hubspot --connector phonely",
            "outcome-bridge check --config ./config",
            "outcome-bridge serve --config ./config",
            "outcome-bridge send --source hubspot deal-won           # sign a case, post it",
            "outcome-bridge events explain evt_0000000000001         # why it became what it became",
        ],
    ),
    (
        "demo",
        &["outcome-bridge demo", "outcome-bridge demo --once --json"],
    ),
    (
        "init",
        &[
            "outcome-bridge init ./config --connector calendly --connector stripe --connector phonely",
            "outcome-bridge init ./config --connector hubspot --public-url https://hooks.example.com",
        ],
    ),
    (
        "serve",
        &[
            "outcome-bridge serve --config ./config",
            "outcome-bridge serve --config ./config -v               # with debug lines",
        ],
    ),
    (
        "check",
        &[
            "outcome-bridge check --config ./config",
            "outcome-bridge check --deny-warnings --json             # for CI",
        ],
    ),
    ("connectors", &["outcome-bridge connectors list"]),
    (
        "connectors list",
        &[
            "outcome-bridge connectors list",
            "outcome-bridge connectors list --dir ./connectors --format jsonl",
        ],
    ),
    (
        "connectors show",
        &["outcome-bridge connectors show calendly"],
    ),
    (
        "connectors test",
        &[
            "outcome-bridge connectors test",
            "outcome-bridge connectors test --dir ./connectors acme-crm",
        ],
    ),
    (
        "connectors new",
        &["outcome-bridge connectors new acme-crm --dir ./connectors"],
    ),
    (
        "map",
        &[
            "outcome-bridge map --source hubspot --explain event.json",
            "outcome-bridge map --source hubspot - --lookup answers.json",
        ],
    ),
    (
        "send",
        &[
            "outcome-bridge send --source calendly no-show           # a case of the connector, really signed",
            "outcome-bridge send --source crm --header 'x-trace: 1' body.json",
            "outcome-bridge send --source stripe --new-id checkout-paid   # a new event, not a repeat",
        ],
    ),
    ("events", &["outcome-bridge events list --since 2h"]),
    (
        "events list",
        &[
            "outcome-bridge events list --since yesterday --disposition unmatched",
            "outcome-bridge events list --source hubspot --format jsonl --limit 1000",
        ],
    ),
    (
        "events show",
        &[
            "outcome-bridge events show evt_0000000000001",
            "outcome-bridge events show evt_0000000000001 --save event.json   # for `map`",
        ],
    ),
    (
        "events explain",
        &["outcome-bridge events explain evt_0000000000001"],
    ),
    (
        "events replay",
        &[
            "outcome-bridge events replay evt_0000000000001 --dry-run",
            "outcome-bridge events replay --source hubspot --since 30days --rate 100",
        ],
    ),
    (
        "events tail",
        &["outcome-bridge events tail --source stripe"],
    ),
    (
        "deliveries",
        &["outcome-bridge deliveries list --state retrying"],
    ),
    (
        "deliveries list",
        &["outcome-bridge deliveries list --destination phonely --state retrying --since 2h"],
    ),
    (
        "deliveries show",
        &["outcome-bridge deliveries show dlv_0000000000001-1"],
    ),
    ("dead-letters", &["outcome-bridge dead-letters list"]),
    (
        "dead-letters list",
        &["outcome-bridge dead-letters list --destination phonely"],
    ),
    (
        "dead-letters redrive",
        &[
            "outcome-bridge dead-letters redrive --destination phonely --dry-run",
            "outcome-bridge dead-letters redrive dlv_0000000000001-1",
        ],
    ),
    (
        "dead-letters discard",
        &[
            "outcome-bridge dead-letters discard dlv_0000000000001-1",
            "outcome-bridge dead-letters discard --all",
        ],
    ),
    ("destinations", &["outcome-bridge destinations list"]),
    (
        "destinations list",
        &[
            "outcome-bridge destinations list",
            "outcome-bridge destinations list --json",
        ],
    ),
    (
        "destinations pause",
        &[
            "outcome-bridge destinations pause phonely            # everything waits, nothing is lost",
        ],
    ),
    (
        "destinations resume",
        &["outcome-bridge destinations resume phonely           # after its key was put right"],
    ),
    ("sources", &["outcome-bridge sources list"]),
    (
        "sources list",
        &[
            "outcome-bridge sources list",
            "outcome-bridge sources list --format csv",
        ],
    ),
    (
        "outcomes",
        &["outcome-bridge outcomes list --since yesterday"],
    ),
    (
        "outcomes list",
        &["outcome-bridge outcomes list --kind closed --since 2026-05-01 --until 2026-06-01"],
    ),
    (
        "outcomes export",
        &[
            "outcome-bridge outcomes export > outcomes.csv",
            "outcome-bridge outcomes export --format jsonl --out outcomes.jsonl",
        ],
    ),
    (
        "outcomes report",
        &[
            "outcome-bridge outcomes report --from 30days --by week --zone Europe/Berlin --trend",
            "outcome-bridge outcomes report --split agent            # by what calls share",
            "outcome-bridge outcomes report --conversion closed      # how many came so far",
            "outcome-bridge outcomes report --funnel                 # how far calls came",
            "outcome-bridge outcomes report --delay                  # the time from call to outcome",
            "outcome-bridge outcomes report --calls --kind lost      # the calls behind the numbers",
        ],
    ),
    (
        "outcomes import",
        &[
            "outcome-bridge outcomes import won.csv",
            "outcome-bridge outcomes import deals.jsonl --source crm --rejects rejected.jsonl",
        ],
    ),
    (
        "outcomes set",
        &[
            "outcome-bridge outcomes set lost --call CA123 --notes 'a test booking'",
            "outcome-bridge outcomes set closed --deal 42 --source crm --value 1200.50 --currency USD",
        ],
    ),
    (
        "outcomes release",
        &["outcome-bridge outcomes release --call CA123"],
    ),
    ("outcomes rebuild", &["outcome-bridge outcomes rebuild"]),
    ("calls", &["outcome-bridge calls list --has-outcome false"]),
    (
        "calls import",
        &["outcome-bridge calls import calls.csv --rejects rejected.jsonl"],
    ),
    (
        "calls list",
        &["outcome-bridge calls list --agent agent-1 --since yesterday --has-outcome false"],
    ),
    ("calls show", &["outcome-bridge calls show call/CA123"]),
    ("calls new-key", &["outcome-bridge calls new-key crm"]),
    (
        "backup",
        &[
            "outcome-bridge backup --config ./config /var/backups/bridge",
            "outcome-bridge backup --data ./data /var/backups/bridge",
        ],
    ),
    (
        "restore",
        &["outcome-bridge restore --data ./data /var/backups/bridge"],
    ),
    (
        "doctor",
        &[
            "outcome-bridge doctor --config ./config",
            "outcome-bridge doctor --repair",
        ],
    ),
    (
        "bench",
        &["outcome-bridge bench --seconds 3 --dir /var/lib/outcome-bridge"],
    ),
    (
        "completions",
        &["outcome-bridge completions bash > /etc/bash_completion.d/outcome-bridge"],
    ),
];

/// The command with the examples of it and of every command below it.
pub(super) fn added(command: clap::Command) -> clap::Command {
    below(command, "")
}

fn below(command: clap::Command, name: &str) -> clap::Command {
    let command = match text(name) {
        Some(text) => command.before_help(text),
        None => command,
    };
    let names: Vec<String> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, word| {
        let inner = format!("{name} {word}");
        command.mut_subcommand(word, |one| below(one, inner.trim_start()))
    })
}

fn text(name: &str) -> Option<String> {
    let (_, lines) = EXAMPLES.iter().find(|(known, _)| *known == name)?;
    let mut text = "Examples:".to_owned();
    for line in *lines {
        text.push_str("\n  ");
        text.push_str(line);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    /// The words of an example, as a shell cuts it.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" # ").next().unwrap_or(line);
        let line = line.split(" > ").next().unwrap_or(line);
        let mut words = Vec::new();
        for (place, part) in line.split('\'').enumerate() {
            if place % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_a_command() {
        fn look(command: &clap::Command, name: &str) {
            assert!(text(name).is_some(), "`{name}` has no example");
            for one in command.get_subcommands() {
                look(one, format!("{name} {}", one.get_name()).trim_start());
            }
        }
        look(&Cli::command(), "");
        Cli::command().debug_assert();
        for (name, lines) in EXAMPLES {
            for line in *lines {
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{line}: {error}");
                }
                let begin = format!("outcome-bridge {name}");
                assert!(line.starts_with(begin.trim_end()), "{line} at `{name}`");
            }
        }
    }

    #[test]
    fn help_begins_with_examples() {
        for name in [&[][..], &["events"], &["events", "replay"]] {
            let asked = ["outcome-bridge"].iter().chain(name).chain(&["--help"]);
            let error = added(Cli::command()).try_get_matches_from(asked);
            let help = error.unwrap_err().to_string();
            assert!(help.starts_with("Examples:\n  outcome-bridge "), "{help}");
        }
    }
}
