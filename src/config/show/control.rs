//! What holds a handler back, as its table shows it.

use toml::{Table, Value};

use super::{span, table_of};
use crate::handler::HandlerSettings;
use crate::retry::OnUnknown;

/// Adds what is set.
pub(super) fn control(table: &mut Table, it: &HandlerSettings) {
    if let Some(rate) = it.control.rate {
        let unit = match rate.per.as_secs() {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        table.insert("rate".into(), format!("{}/{unit}", rate.calls).into());
    }
    if let Some(breaker) = it.control.breaker {
        let failures = i64::from(breaker.failures).into();
        let inner = table_of([("failures", failures), ("pause", span(breaker.pause))]);
        table.insert("breaker".into(), inner.into());
    }
    if !it.control.pause_on.is_empty() {
        let statuses = it.control.pause_on.iter().map(|status| i64::from(*status).into());
        table.insert("pause_on".into(), Value::Array(statuses.collect()));
    }
    if it.retry.on_unknown == OnUnknown::Park {
        table.insert("on_unknown".into(), "park".into());
    }
}
