//! Exit codes, and failures on their way to one.

use std::process::{ExitCode, Termination};

use super::terminal::Output;
use crate::diagnostic::Diagnostic;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: it failed.
    Failed,
    /// 2: a check or a test found mistakes.
    Mistakes,
    /// 64: the command was used wrongly.
    Usage,
    /// 69: the server cannot be reached.
    Unreachable,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Mistakes => 2,
            Self::Usage => 64,
            Self::Unreachable => 69,
        })
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Something a person wrote has mistakes.
    #[error("{} mistakes", .0.len())]
    Mistakes(Vec<Diagnostic>),
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Everything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// A failure from an error, with its causes.
    pub(super) fn of(error: impl std::error::Error) -> Self {
        let mut told = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some errors repeat their cause in their own words.
            if !told.contains(&words) {
                told.push_str(": ");
                told.push_str(&words);
            }
            cause = error.source();
        }
        Self::Failed(told)
    }

    /// Tells it to the person and gives the exit code.
    pub(super) fn report(self, output: &Output) -> Exit {
        match self {
            Self::Mistakes(diagnostics) => {
                output.diagnostics(&diagnostics);
                Exit::Mistakes
            }
            Self::Usage(message) => {
                output.fail(&message);
                Exit::Usage
            }
            Self::Unreachable(message) => {
                output.fail(&message);
                Exit::Unreachable
            }
            Self::Failed(message) => output.fail(&message),
        }
    }
}

/// Prints what clap has to say. Help and version are no failures.
pub(super) fn usage(error: &clap::Error) -> Exit {
    // Printing can only fail when nobody listens; the exit code still tells.
    let _printed = error.print();
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}
