//! The command line: one file a verb.

/// Runs the verb named on the command line.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
