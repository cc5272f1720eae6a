//! The `moorline` program. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline_server::main()
}
