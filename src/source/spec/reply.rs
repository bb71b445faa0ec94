//! The vocabulary of `reply` and `retries`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::DurationText;

/// Answers that the provider wants other than the usual ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplySpec {
    /// To a recorded event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<OkSpec>,
    /// The status for a missing or wrong signature, in place of 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthorized: Option<u16>,
    /// The status for a request that can't be read, in place of 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<u16>,
    /// The status when we are too busy, in place of 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overload: Option<u16>,
    /// A refusal has no body, in place of our problem document; its code is kept with the rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_refusals: Option<bool>,
}

/// The answer to a recorded event.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OkSpec {
    /// 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Such as `text/plain`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The exact body, in place of our JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// How the provider retries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetriesSpec {
    /// How long after the first try the last one may come, such as `"3d"`. A key must be kept longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<DurationText>,
    /// The waits between tries, as the provider states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<DurationText>>,
    /// The provider never retries: what we lose stays lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<bool>,
}
