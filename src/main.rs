//! The program. All its code is in the library `entityd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    entityd::cli::main()
}
