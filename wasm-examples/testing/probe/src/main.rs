//! A command that does as its arguments say, for tests of the runtime: see `main` for the verbs.

use std::{
    env, fs,
    hint::black_box,
    io::{self, Read, Write},
    process, thread,
    time::{Duration, Instant},
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => process::exit(number(code) as i32),
        ["trap"] => process::abort(),
        ["panic"] => panic!("told to"),
        ["spin"] => spin(None),
        ["spin", milliseconds] => spin(Some(Duration::from_millis(number(milliseconds)))),
        ["sleep", milliseconds] => thread::sleep(Duration::from_millis(number(milliseconds))),
        ["hog", mebibytes] => hog(number(mebibytes) as usize),
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["args", rest @ ..] => rest.iter().for_each(|word| println!("{word}")),
        ["cwd"] => println!("{}", env::current_dir().map(|path| path.display().to_string()).unwrap_or_default()),
        ["cat", files @ ..] => files.iter().for_each(|file| match fs::read(file) {
            Ok(bytes) => io::stdout().write_all(&bytes).expect("standard output is open"),
            Err(error) => fail(file, &error),
        }),
        ["ls", directory] => list(directory),
        ["write", file, text] => {
            if let Err(error) = fs::write(file, text) {
                fail(file, &error);
            }
        }
        ["stdin"] => {
            let mut text = String::new();
            let _ = io::stdin().read_to_string(&mut text);
            println!("{} bytes", text.len());
        }
        ["out", text] => print!("{text}"),
        ["err", text] => eprint!("{text}"),
        ["flood", lines] => (0..number(lines)).for_each(|line| println!("line {line}")),
        ["long", bytes] => println!("{}", "x".repeat(number(bytes) as usize)),
        ["now"] => println!("{:?}", std::time::SystemTime::now()),
        _ => {
            eprintln!("unknown words: {words:?}");
            process::exit(64);
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("not a number: {text}");
        process::exit(64)
    })
}

fn fail(what: &str, error: &io::Error) -> ! {
    eprintln!("{what}: {error}");
    process::exit(1)
}

/// Computes without pause, for ever or for a while.
fn spin(length: Option<Duration>) {
    let start = Instant::now();
    let mut state: u64 = 1;
    loop {
        for _ in 0..100_000 {
            state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        if length.is_some_and(|length| start.elapsed() >= length) {
            println!("spun {}", state & 1);
            return;
        }
    }
}

/// Takes memory, a mebibyte at a time, touches all of it and says so.
fn hog(mebibytes: usize) {
    let mut held = Vec::new();
    for count in 1..=mebibytes {
        held.push(black_box(vec![1_u8; 1 << 20]));
        if count % 16 == 0 {
            println!("holding {count} MiB");
        }
    }
    println!("held {} MiB", held.len());
}

fn list(directory: &str) {
    match fs::read_dir(directory) {
        Ok(entries) => {
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.iter().for_each(|name| println!("{name}"));
        }
        Err(error) => fail(directory, &error),
    }
}
