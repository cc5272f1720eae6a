//! The `moorline` program. All of it is in the library.

use std::process::ExitCode;

/// The system's allocator took a fifth of a handshake's instructions, and scattered what a delivery looks at.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    moorline_server::main()
}
