//! The search: changes one by one, then by two, within a bound.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use super::budget::{self, Budget};
use super::{Cause, Surroundings, address, body, content, head, keys, line};
use crate::received::Received;
use crate::verify::signed::SignedScheme;

/// Break: stop, because it is found or the effort is spent.
pub(super) type Flow = ControlFlow<()>;

/// A scheme and a request, one of them changed.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) scheme: SignedScheme,
    pub(super) received: Received,
}

/// What was changed.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) cause: Cause,
    pub(super) sentence: String,
}

impl Change {
    pub(super) fn new(cause: Cause, sentence: impl Into<String>) -> Self {
        Self { cause, sentence: sentence.into() }
    }
}

/// The change, or the two, that made it fit.
pub(super) struct Found {
    pub(super) cause: Cause,
    pub(super) also: Option<Cause>,
    pub(super) sentence: String,
}

/// What a family of changes hands each changed case to.
pub(super) type Visit<'v> = dyn FnMut(&mut Search<'_>, Case, Change) -> Flow + 'v;

/// A family of changes.
type Family = fn(&Case, &mut Search<'_>, &mut Visit<'_>) -> Flow;

/// Each alone, the most specific first.
const SINGLE: [Family; 10] = [
    line::spelling,
    line::encoding,
    head::time,
    head::covered,
    keys::variants,
    body::variants,
    address::variants,
    content::hashes,
    head::places,
    content::templates,
];

/// Pairs that come together in practice.
const PAIRS: [(Family, Family); 12] = [
    (body::ends, body::variants),
    (address::variants, address::variants),
    (keys::variants, body::ends),
    (keys::variants, line::encoding),
    (keys::variants, content::hashes),
    (content::hashes, line::encoding),
    (line::spelling, line::encoding),
    (content::templates, line::encoding),
    (content::templates, content::hashes),
    (line::encoding, body::variants),
    (keys::variants, content::templates),
    (keys::variants, body::variants),
];

pub(super) struct Search<'a> {
    pub(super) url: Option<&'a str>,
    now: DateTime<Utc>,
    budget: &'a Budget,
    found: Option<Found>,
}

impl<'a> Search<'a> {
    pub(super) fn new(around: &Surroundings<'a>) -> Self {
        Self { url: around.url, now: around.now, budget: around.budget, found: None }
    }

    /// The change that makes the case fit.
    pub(super) fn run(&mut self, case: &Case) -> Option<Found> {
        let flow = self.singles(case);
        if flow.is_continue() {
            // However it ends, what counts is whether something was found.
            let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.pairs(case);
        }
        self.found.take()
    }

    /// Whether no more may be tried.
    pub(super) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    fn singles(&mut self, case: &Case) -> Flow {
        if let Some(change) = line::cut(case) {
            return self.end(change, None);
        }
        for family in SINGLE {
            family(case, self, &mut |search, case, change| search.attempt(&case, change, None))?;
        }
        Flow::Continue(())
    }

    fn pairs(&mut self, case: &Case) -> Flow {
        for (first, second) in PAIRS {
            first(case, self, &mut |search, case, one| {
                second(&case, search, &mut |search, case, other| {
                    search.attempt(&case, one.clone(), Some(other))
                })
            })?;
        }
        Flow::Continue(())
    }

    /// Tries a case: the first that fits ends the search.
    fn attempt(&mut self, case: &Case, change: Change, also: Option<Change>) -> Flow {
        self.spend(case)?;
        if self.fits(case) {
            return self.end(change, also);
        }
        Flow::Continue(())
    }

    fn end(&mut self, change: Change, also: Option<Change>) -> Flow {
        let sentence = match &also {
            Some(also) => format!("{}; and {}", change.sentence, also.sentence),
            None => change.sentence,
        };
        self.found =
            Some(Found { cause: change.cause, also: also.map(|also| also.cause), sentence });
        Flow::Break(())
    }

    /// An old request fits too: what was wrong before its time was judged is what we look for.
    fn fits(&self, case: &Case) -> bool {
        match case.scheme.verify(&case.received, self.now) {
            Ok(_) => true,
            Err(rejection) => rejection.code.is_of_time(),
        }
    }

    fn spend(&mut self, case: &Case) -> Flow {
        let cost = budget::cost_of_signed(&case.scheme, &case.received);
        if self.budget.spend(cost) { Flow::Continue(()) } else { Flow::Break(()) }
    }
}
