//! The `outcome-bridge` command.

use mimalloc::MiMalloc;
use outcome_bridge::cli::{self, Exit};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> Exit {
    cli::run()
}
