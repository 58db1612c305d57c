//! Asking before a command changes many things at once.
//!
//! Only a person at a terminal is asked. Scripts say what they want by the command itself, and a pipe cannot answer.

use std::io::{self, BufRead, IsTerminal};

use super::exit::Failure;
use super::output;

/// Whether a person is asked first.
#[derive(Debug, clap::Args)]
pub(super) struct Consent {
    /// Do not ask first, on a terminal.
    #[arg(long, short)]
    yes: bool,
}

impl Consent {
    /// Whether [`Consent::ask`] would ask, for whoever has to find out first what to ask.
    pub(super) fn is_asked(&self) -> bool {
        !self.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks `question`, if anybody is to be asked.
    ///
    /// # Errors
    /// When the answer is anything but yes.
    pub(super) fn ask(&self, question: &str) -> Result<(), Failure> {
        if !self.is_asked() {
            return Ok(());
        }
        output::tell(&format!("{question} [y/N]"));
        if is_yes(&mut io::stdin().lock()) {
            return Ok(());
        }
        Err(Failure::Failed("nothing was changed".to_owned()))
    }
}

/// Whether the answer is yes. An input that ends or fails is a no.
fn is_yes(input: &mut dyn BufRead) -> bool {
    let mut answer = String::new();
    let read = input.read_line(&mut answer).is_ok();
    read && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for answer in ["y\n", "Y", " yes \n"] {
            assert!(is_yes(&mut answer.as_bytes()), "{answer}");
        }
        for answer in ["", "\n", "n\n", "yesterday\n", "\ny\n"] {
            assert!(!is_yes(&mut answer.as_bytes()), "{answer}");
        }
    }

    #[test]
    fn who_said_yes_is_not_asked() {
        let consent = Consent { yes: true };
        assert!(!consent.is_asked() && consent.ask("really?").is_ok());
    }
}
