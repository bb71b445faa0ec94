//! What Prometheus is shown.

use chrono::Utc;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[test]
fn two_apps_in_one_process_count_apart() {
    let (one, two) = (Metrics::new(), Metrics::new());
    one.intake(&name("stripe"), ACCEPTED, Duration::from_millis(2));
    assert!(
        one.render().contains(r#"hookonce_intake_total{source="stripe",outcome="accepted"} 1"#),
        "{}",
        one.render()
    );
    assert!(!two.render().contains("stripe"));
}

#[test]
fn every_figure_of_the_contract_can_be_fed_and_has_a_help_line() {
    let metrics = Metrics::new();
    let (source, handler) = (name("stripe"), name("billing"));
    metrics.expect([&source], [&handler]);
    metrics.intake(&source, "signature_mismatch", Duration::from_millis(1));
    metrics.intake_unknown();
    metrics.verified(&source, Some(1));
    metrics.key_fetched(&source, "fetched");
    metrics.issuer_key_fetched(&handler, "failed");
    metrics.commit(Duration::from_millis(3), 17);
    metrics.delivery(&handler, TryOutcome::Retry, Duration::from_secs(1));
    metrics.backlog(&handler, Backlog { pending: 3, oldest: Duration::from_secs(9), dead: 1 });
    metrics.fenced();
    metrics.cleanup_rows("event", 7);
    metrics.cleanup_succeeded(Utc::now());
    metrics.responded(&source, "late");
    metrics.held_back(&handler, true, false);
    metrics.cleanup_overdue(Duration::from_secs(61));
    metrics.expired("event", 7);
    metrics.table("event", Some(5), Some(4096));
    metrics.config_generation(1);
    metrics.invariant_violated();
    metrics.rejection_dropped();
    metrics.replay_suspected(&source);
    metrics.idempotency(&handler, "run");
    metrics.idempotency_cache(&handler, "hit");
    metrics.inflight_grew(1024);
    metrics.inflight_shrank(1000);
    let text = metrics.render();
    for (name, _, _, help) in DESCRIPTIONS {
        assert!(text.contains(&format!("# HELP {name} {help}")), "{name} in\n{text}");
    }
    for line in [
        r#"hookonce_intake_total{source="stripe",outcome="signature_mismatch"} 1"#,
        r#"hookonce_intake_total{source="",outcome="unknown_source"} 1"#,
        r#"hookonce_verified_total{source="stripe",secret="1"} 1"#,
        r#"hookonce_key_fetches_total{source="stripe",outcome="fetched"} 1"#,
        r#"hookonce_issuer_key_fetches_total{gateway="billing",outcome="failed"} 1"#,
        r#"hookonce_commit_batch_rows_bucket{le="16"} 0"#,
        r#"hookonce_commit_batch_rows_bucket{le="32"} 1"#,
        r#"hookonce_commit_seconds_bucket{le="0.005"} 1"#,
        r#"hookonce_deliveries_total{handler="billing",outcome="delivered"} 0"#,
        r#"hookonce_deliveries_total{handler="billing",outcome="retry"} 1"#,
        r#"hookonce_pending{handler="billing"} 3"#,
        r#"hookonce_oldest_pending_seconds{handler="billing"} 9"#,
        r#"hookonce_dead{handler="billing"} 1"#,
        "hookonce_lease_fenced_total 1",
        r#"hookonce_cleanup_rows_total{table="event"} 7"#,
        r#"hookonce_table_bytes{table="event"} 4096"#,
        "hookonce_config_generation 1",
        "hookonce_rejections_dropped_total 1",
        "hookonce_inflight_bytes 24",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}
