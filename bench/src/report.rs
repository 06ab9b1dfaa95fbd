//! Figures: a table to read, a file to keep.

use std::{fs, path::Path, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::BenchError;

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    unit: &'static str,
    /// The median where several were taken.
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<f64>,
    samples: usize,
}

/// The figures of one run.
#[derive(Debug)]
pub struct Report {
    machine: Value,
    figures: Vec<Figure>,
}

/// The `part` quantile of sorted samples.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let index = (last as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// Without figures yet.
    pub fn new(machine: Value) -> Self {
        Self { machine, figures: Vec::new() }
    }

    /// A figure that was taken once.
    pub fn one(&mut self, what: impl Into<String>, unit: &'static str, value: f64) {
        self.figures.push(Figure { what: what.into(), unit, value, p99: None, samples: 1 });
    }

    /// Times that were taken several times.
    pub fn times(&mut self, what: impl Into<String>, times: &[Duration]) {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        let figure = Figure {
            what: what.into(),
            unit: "ms",
            value: quantile(&sorted, 0.5),
            p99: Some(quantile(&sorted, 0.99)),
            samples: sorted.len(),
        };
        self.figures.push(figure);
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "it is what the program is for")]
    pub fn print(&self) {
        let width = self.figures.iter().map(|figure| figure.what.len()).max().unwrap_or_default();
        println!("{:width$}  {:>12}  {:>10}  {:10}  samples", "figure", "median", "p99", "unit");
        for Figure { what, unit, value, p99, samples } in &self.figures {
            let p99 = p99.map(|p99| format!("{p99:.2}")).unwrap_or_default();
            println!("{what:width$}  {value:>12.2}  {p99:>10}  {unit:10}  {samples}");
        }
    }

    /// Keeps the run as a file in `folder`.
    pub fn keep(&self, folder: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
        let time = self.machine["time"].as_str().unwrap_or("unknown").replace(':', "-");
        let path = folder.join(format!("{time}.json"));
        let kept = json!({"machine": self.machine, "figures": self.figures});
        fs::write(&path, format!("{kept:#}\n")).map_err(BenchError::file(&path))
    }
}

/// Says on standard error what is going on.
#[expect(clippy::print_stderr, reason = "it is what the program is for")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Says why nothing more is measured.
pub fn complain(error: &BenchError) {
    say(&format!("bench: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst_of_a_hundred_are_told() {
        let times: Vec<Duration> = (1..=101).map(Duration::from_millis).collect();
        let mut report = Report::new(Value::Null);
        report.times("t", &times);
        assert!((report.figures[0].value - 51.0).abs() < 1e-6);
        assert!((report.figures[0].p99.expect("times have one") - 100.0).abs() < 1e-6);
    }
}
