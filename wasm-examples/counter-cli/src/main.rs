//! Counts its own runs in a file on a volume: `counter-cli [DIRECTORY]`.

use std::{env, fs, io, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let directory = env::args().nth(1).unwrap_or_else(|| "/data".to_owned());
    match count(Path::new(&directory)) {
        Ok(runs) => {
            println!("run {runs}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot count in {directory}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Adds one to the number in `DIRECTORY/count` and returns it; the file is replaced whole, so that a run that dies
/// halfway leaves the old number.
fn count(directory: &Path) -> io::Result<u64> {
    let file = directory.join("count");
    let before = match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let runs: u64 = before + 1;
    let next = directory.join("count.next");
    fs::write(&next, format!("{runs}\n"))?;
    fs::rename(&next, &file)?;
    Ok(runs)
}
