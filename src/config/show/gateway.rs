//! A gateway as it is shown.

use toml::Table;

use super::{size, span, table_of, texts};
use crate::http::GatewaySettings;
use crate::http::gateway::ScopeSettings;
use crate::idempotency::{Compare, OnUnknown};

pub(super) fn table(it: &GatewaySettings) -> Table {
    let rules = &it.rules;
    let on_unknown = match rules.on_unknown {
        OnUnknown::Keep => "keep",
        OnUnknown::Conflict => "conflict",
        OnUnknown::Rerun => "rerun",
    };
    let compare = match &it.compare {
        Compare::Bytes => "bytes".into(),
        Compare::Json => "json".into(),
        Compare::Pointers(pointers) => texts(pointers),
    };
    let mut table = table_of([
        ("path", it.path.as_str().into()),
        ("upstream", it.upstream.origin().ascii_serialization().into()),
        ("methods", texts(&it.methods)),
        ("key", if it.key_required { "required" } else { "optional" }.into()),
        ("ttl", span(rules.ttl)),
        ("lease", span(rules.lease)),
        ("on_unknown", on_unknown.into()),
        ("timeout", span(it.timeout)),
        ("wait", span(rules.wait)),
        ("fail_open", rules.fail_open.into()),
        ("compare", compare),
        ("max_body", size(it.max_body)),
        ("max_answer", size(rules.answer_max)),
        ("keep_headers", texts(&rules.kept_headers)),
    ]);
    match &it.scope {
        ScopeSettings::Header(header) => {
            table.insert("scope".into(), format!("header:{header}").into());
        }
        ScopeSettings::Claim(bearer) => {
            table.insert("scope".into(), format!("claim:{}", bearer.claim).into());
            table.insert("jwks".into(), bearer.jwks.as_str().into());
            for (key, names) in [("issuer", &bearer.issuers), ("audience", &bearer.audiences)] {
                if !names.is_empty() {
                    table.insert(key.into(), texts(names));
                }
            }
            let algorithms = bearer.algorithms.iter().map(|it| it.name());
            table.insert("algorithms".into(), texts(algorithms));
        }
    }
    if let Some(cache) = &it.cache {
        table.insert("cache".into(), cache.to_string().into());
    }
    table
}
