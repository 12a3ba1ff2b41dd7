//! How a command fails: what is wrong, and the next step.

use std::fmt;
use std::process::ExitCode;

/// Why a command ended without having done what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: String,
    code: u8,
}

impl Failure {
    /// Something in the world is not as it should be.
    pub(crate) fn new(message: impl ToString, hint: impl ToString) -> Failure {
        Failure { message: message.to_string(), hint: hint.to_string(), code: 1 }
    }

    /// The arguments ask for something that cannot be.
    pub(crate) fn usage(message: impl ToString, hint: impl ToString) -> Failure {
        Failure { code: 2, ..Failure::new(message, hint) }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}\nhint: {}", self.message, self.hint)
    }
}
