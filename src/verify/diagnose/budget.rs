//! How much a diagnosis may try, counted once for all that try.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::received::Received;
use crate::verify::key::Algorithm;
use crate::verify::scheme::Scheme;
use crate::verify::signed::SignedScheme;

/// How much a diagnosis may try.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Bytes that may go through a MAC, as the sum of all trials.
    pub bytes: usize,
    /// Trials.
    pub trials: usize,
    /// All of them together: what one costs depends on the request as well.
    pub time: Duration,
}

impl Effort {
    /// For somebody who waits for the answer: mostly a second or two.
    pub const PATIENT: Self =
        Self { bytes: 1024 * 1024 * 1024, trials: 20_000, time: Duration::from_secs(10) };
    /// For a daemon that has other work: some tens of milliseconds.
    pub const MODEST: Self =
        Self { bytes: 24 * 1024 * 1024, trials: 6_000, time: Duration::from_millis(100) };
}

/// What a trial costs beside the body, in bytes of MAC.
const TRIAL_BYTES: usize = 1024;

/// What checking one signature by a public key costs, in bytes of MAC.
const PUBLIC_BYTES: usize = 64 * 1024;

/// Of bytes, trials and time, such a part is kept back for each of the last two questions: whether the request is
/// another provider's, and whether it is another source's. They say more than the thousandth change.
const KEPT_BACK: u32 = 8;
const LAST_QUESTIONS: u32 = 2;

/// What is left of an effort. A source's own scheme, its members, other providers and other sources
/// all spend of the same one.
#[derive(Debug)]
pub(crate) struct Budget {
    begun: Instant,
    bytes: Cell<usize>,
    trials: Cell<usize>,
    time: Cell<Duration>,
    part: Effort,
    kept_back: Cell<u32>,
}

impl Budget {
    /// All of it but what is kept back.
    pub(crate) fn new(effort: Effort) -> Self {
        let parts = KEPT_BACK as usize;
        let part = Effort {
            bytes: effort.bytes / parts,
            trials: effort.trials / parts,
            time: effort.time / KEPT_BACK,
        };
        let kept = LAST_QUESTIONS as usize;
        Self {
            begun: Instant::now(),
            bytes: Cell::new(effort.bytes - kept * part.bytes),
            trials: Cell::new(effort.trials - kept * part.trials),
            time: Cell::new(effort.time.saturating_sub(LAST_QUESTIONS * part.time)),
            part,
            kept_back: Cell::new(LAST_QUESTIONS),
        }
    }

    /// Gives the part that was kept back for the next of the last questions. From then on only bytes and trials
    /// count: they are few, and by a clock it would depend on what else the machine does whether they are asked.
    pub(crate) fn open_a_last_part(&self) {
        if let Some(left) = self.kept_back.get().checked_sub(1) {
            self.kept_back.set(left);
            self.bytes.set(self.bytes.get().saturating_add(self.part.bytes));
            self.trials.set(self.trials.get().saturating_add(self.part.trials));
            self.time.set(Duration::MAX);
        }
    }

    /// Whether nothing more may be tried.
    pub(super) fn is_spent(&self) -> bool {
        self.bytes.get() == 0 || self.trials.get() == 0 || self.begun.elapsed() >= self.time.get()
    }

    /// Pays for one trial; `false` when it can't be paid any more, and all is spent then.
    pub(super) fn spend(&self, cost: usize) -> bool {
        self.bytes.set(self.bytes.get().saturating_sub(cost));
        self.trials.set(self.trials.get().saturating_sub(1));
        !self.is_spent()
    }

    /// Pays for judging a request by a scheme; `false`, and nothing is paid, when there isn't enough left.
    pub(crate) fn affords(&self, scheme: &Scheme, received: &Received) -> bool {
        let cost = cost(scheme, received);
        if self.is_spent() || cost > self.bytes.get() {
            return false;
        }
        self.bytes.set(self.bytes.get() - cost);
        self.trials.set(self.trials.get() - 1);
        true
    }
}

/// What judging a request by a scheme costs at most, in bytes of MAC.
fn cost(scheme: &Scheme, received: &Received) -> usize {
    match scheme {
        Scheme::Signed(signed) => cost_of_signed(signed, received),
        Scheme::Jwt(token) => {
            let public = token.algs.iter().any(|alg| alg.public().is_some());
            let each = TRIAL_BYTES + if public { PUBLIC_BYTES } else { 0 };
            // Its body goes through one hash, whoever signed it.
            received.body.len() + each.saturating_mul(token.keys.len().max(1))
        }
        Scheme::Token(_) | Scheme::Basic(_) | Scheme::Unsigned => TRIAL_BYTES,
        Scheme::Any(members) | Scheme::All(members) => {
            members.iter().map(|member| cost(member, received)).fold(0, usize::saturating_add)
        }
    }
}

/// The same of a scheme that signs content.
pub(super) fn cost_of_signed(scheme: &SignedScheme, received: &Received) -> usize {
    let each = match scheme.algorithm {
        Algorithm::Public(_) => received.body.len() + PUBLIC_BYTES,
        _ => received.body.len(),
    };
    TRIAL_BYTES + each.saturating_mul(scheme.keys.len().max(1))
}
