//! Owns the story of a run, line by line, for people and for comparing two runs.

use flushcast_core::Time;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Vec<String>,
    kept: bool,
    digest: u64,
}

impl Trace {
    pub(crate) fn new(kept: bool) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Notes what happened. The digest covers every line, kept or not.
    pub(crate) fn note(&mut self, now: Time, what: &std::fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {what}", now.since(Time::ZERO).as_secs_f64());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.kept {
            self.lines.push(line);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}
