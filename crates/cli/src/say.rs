//! The one place that prints.
//!
//! A reader that has gone away (`flushcast demo | head`) is no reason to stop: it is not told.

use std::fmt::Display;
use std::io::{self, Write};

use crate::failure::Failure;

/// A line of what the command was asked for.
pub(crate) fn line(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A line about how it goes.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

pub(crate) fn failure(failure: &Failure) {
    note(failure);
}
