//! The `outcome-bridge` command.

use outcome_bridge::cli::{self, Exit};

fn main() -> Exit {
    cli::run()
}
