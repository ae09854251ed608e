//! The `stentor` program; the library behind it does everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    stentor::cli::run()
}
