//! Owns what figures are made of many measured times, and how a table of them is set.

use std::fmt;

/// The smallest of `sorted` that at least `percent` of them do not exceed; 0 if there is none.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The value in the middle, or the mean of the two there; not a number if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// The figures of one round, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Half of the flushes took no longer.
    pub p50: f64,
    /// 99 of 100 flushes took no longer.
    pub p99: f64,
}

impl Round {
    /// The figures of these times in nanoseconds.
    pub fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let micros = |percent| percentile(&nanos, percent) as f64 / 1000.0;
        Self { p50: micros(50), p99: micros(99) }
    }
}

/// How one side stands to the other: the ratio within each round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median over the rounds.
    pub median: f64,
    /// The lowest of a round.
    pub lowest: f64,
    /// The highest of a round.
    pub highest: f64,
}

impl Ratio {
    /// The ratios of `ours` to `theirs`, round by round.
    pub fn of(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { median: median(ratios), lowest, highest }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lowest, highest } = self;
        write!(out, "{median:.2} ({lowest:.2}-{highest:.2})")
    }
}

/// Rows of text under a head, each column as wide as its widest; the first to the left, the
/// others to the right.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new<T: ToString>(head: impl IntoIterator<Item = T>) -> Self {
        Self { rows: vec![head.into_iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(out, "{cell:<width$}")?,
                    _ => write!(out, "  {cell:>width$}")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// What the machine was like: its cores, and how much else it had to do.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    let build = if cfg!(debug_assertions) { ", NOT a release build" } else { "" };
    format!("{cores} cores, load {load} at the start{build}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&hundred, percent)), [50, 99, 100]);
        assert_eq!([50, 99].map(|percent| percentile(&[3, 5], percent)), [3, 5]);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_median_does_not_care_for_order_or_outliers() {
        assert_eq!(median(vec![1000.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 1000.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round_not_between_medians() {
        let ratio = Ratio::of(&[10.0, 40.0, 30.0], &[10.0, 20.0, 60.0]);
        assert_eq!(ratio, Ratio { median: 1.0, lowest: 0.5, highest: 2.0 });
        assert_eq!(ratio.to_string(), "1.00 (0.50-2.00)");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["", "us"]);
        table.row(["paced", "7.0"]);
        table.row(["closed", "12.5"]);
        assert_eq!(table.to_string(), "          us\npaced    7.0\nclosed  12.5\n");
    }
}
