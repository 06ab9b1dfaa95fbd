//! The one binary: every role of a cluster, chosen by its verb.

fn main() -> std::process::ExitCode {
    cli::main()
}
