//! Why a verb did not do what was asked, shaped by its exit code.

use std::fmt;

use crate::config::Faults;
use crate::config::dev::DevError;
use crate::store::{OpenError, StoreError};

/// Why a verb failed. Each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// 1: it was tried and did not work.
    Failed(String),
    /// 2: the command line is wrong, or asks for what isn't built.
    Usage(String),
    /// 2: the config is wrong.
    Config(Faults),
    /// 3: the daemon or the database can't be reached.
    Unreachable(String),
    /// 4: there is no such thing.
    NotFound(String),
    /// 130: interrupted.
    Interrupted,
    /// 0: whoever read our output went away, which is no fault of anybody.
    ClosedPipe,
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NotFound(_) => 4,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Usage(why) | Self::Unreachable(why) | Self::NotFound(why) => {
                f.write_str(why)
            }
            Self::Config(faults) => faults.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
            Self::ClosedPipe => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Config(faults)
    }
}

impl From<DevError> for Failure {
    fn from(error: DevError) -> Self {
        match error {
            DevError::Config(faults) => Self::Config(faults),
            DevError::File { .. } | DevError::Secrets(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let said = chain(&error);
        match error {
            OpenError::Unreachable(_) => Self::Unreachable(said),
            OpenError::Url(_) => Self::Usage(said),
            OpenError::Unsafe(_) | OpenError::Locked(_) | OpenError::Migration(_) => {
                Self::Failed(said)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let said = chain(&error);
        if error.is_transient() { Self::Unreachable(said) } else { Self::Failed(said) }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
