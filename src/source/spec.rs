//! The vocabulary in which presets and operators describe a source.

/// How to verify and what to read.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {}
