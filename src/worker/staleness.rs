//! Whether a newer event of the same lane was delivered before.

use std::time::Duration;

use super::Shared;
use super::settle::Ending;
use super::work::Came;
use crate::event::Event;
use crate::handler::Outcome;
use crate::handler::lane::NO_LANE;
use crate::handler::version::{OnStale, Versions};
use crate::store::Claimed;

/// How long a delivery waits when the database failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Says whether the handler is to be told that the event is stale; `Err` when it isn't to be called.
///
/// Nothing else of the lane is under way meanwhile, so what was delivered before is all that counts.
pub(super) async fn look(
    shared: &Shared,
    versions: &Versions,
    claim: &Claimed,
    event: &Event,
) -> Result<bool, Came> {
    // The events of the lane without a name have nothing to do with one another.
    if claim.lane.as_deref().is_none_or(|lane| lane == NO_LANE) {
        return Ok(false);
    }
    let Some(version) = versions.of(event.headers.clone(), event.body.clone()) else {
        tracing::debug!(delivery.id = %claim.delivery, version.place = %versions.place(),
            "an event has no version there; it is taken for a new one");
        return Ok(false);
    };
    let newest = match shared
        .store
        .keep_version(claim.delivery, claim.epoch, version.as_str())
        .await
    {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            shared.metrics.fenced();
            return Err(Came::LeaseLost);
        }
        Err(error) => {
            // Our own fault uses up no try.
            tracing::warn!(delivery.id = %claim.delivery, error = %error, "the version of an event can't be compared now");
            return Err(Came::Uncalled(Ending::Returned(Outcome::Snooze { wait: AFTER_ERROR })));
        }
    };
    let stale = newest.is_some_and(|newest| newest.as_str() > version.as_str());
    match versions.on_stale {
        OnStale::Skip if stale => Err(Came::Uncalled(Ending::Skipped(
            "stale, a newer version in its lane was delivered before",
        ))),
        OnStale::Skip | OnStale::Flag => Ok(stale),
    }
}
