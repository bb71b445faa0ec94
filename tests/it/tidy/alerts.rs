//! The alert rules that we ship ask for metrics that there are.

use super::{assert_none, files};

/// The metrics of each `expr:` that aren't in `known`.
fn unknown_metrics(rules: &str, known: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("hookonce_")) {
            if !known.contains(&format!("\"{name}\"")) {
                unknown.push(format!("{name}: {line}"));
            }
        }
    }
    unknown
}

#[test]
fn every_alert_asks_for_metrics_that_exist() {
    let names = &files("src/metric", &["names.rs"])[0];
    let rules = &files("docs", &["alerts.yml"])[0];
    assert!(rules.content.matches("expr: ").count() >= 5, "the rules are there");
    assert_none(&unknown_metrics(&rules.content, &names.content));
}

#[test]
fn a_misspelt_metric_is_found() {
    let rules = "  - alert: A\n    expr: max(hookonce_deed) > 0\n";
    assert_eq!(unknown_metrics(rules, "\"hookonce_dead\"").len(), 1);
}
