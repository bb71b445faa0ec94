//! Many old events at once, without going through the door. Their ids are ordered by time, as ours are.

use crate::support::{Kind, TestDatabase};

/// Delivered events with bodies and tries, recorded two months ago and not expired yet.
pub async fn fill(db: &TestDatabase, count: u64) {
    let statements = match db.kind() {
        Kind::Postgres => postgres(count),
        Kind::Sqlite => sqlite(count),
    };
    for statement in statements {
        db.run(&statement).await;
    }
}

fn postgres(count: u64) -> Vec<String> {
    vec![
        format!(
            "INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
             SELECT (lpad(to_hex(n), 12, '0') || substr(md5(n::text), 1, 20))::uuid, 'old', 'evt_' || n, gen_random_uuid(), 'invoice.paid',
                    decode(repeat('00', 32), 'hex'), 600, now() - interval '60 days', now() + interval '1 day'
               FROM generate_series(1, {count}) n"
        ),
        "INSERT INTO event_body (event_id, headers, body, expires_at)
         SELECT id, 'a: b', convert_to(repeat('x', 600), 'UTF8'), expires_at FROM event WHERE source = 'old'"
            .to_owned(),
        "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
         SELECT overlay(id::text placing 'd' from 36)::uuid, id, 'billing', 'delivered', 1, received_at, received_at, received_at
           FROM event WHERE source = 'old'"
            .to_owned(),
        "INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome, status)
         SELECT id, 1, 1, opened_at, 12, 'delivered', 200 FROM delivery WHERE handler = 'billing'"
            .to_owned(),
        "ANALYZE".to_owned(),
    ]
}

fn sqlite(count: u64) -> Vec<String> {
    let time = |offset: &str| format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '{offset}')");
    let (old, soon) = (time("-60 days"), time("+1 day"));
    vec![
        format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})
             INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
             SELECT unhex(printf('%012x', n) || hex(randomblob(10))), 'old', 'evt_' || n, randomblob(16), 'invoice.paid', zeroblob(32), 600, {old}, {soon}
               FROM n"
        ),
        "INSERT INTO event_body (event_id, headers, body, expires_at)
         SELECT id, x'613a2062', randomblob(600), expires_at FROM event WHERE source = 'old'"
            .to_owned(),
        "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
         SELECT unhex(substr(hex(id), 1, 31) || 'D'), id, 'billing', 'delivered', 1, received_at, received_at, received_at
           FROM event WHERE source = 'old'"
            .to_owned(),
        "INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome, status)
         SELECT id, 1, 1, opened_at, 12, 'delivered', 200 FROM delivery WHERE handler = 'billing'"
            .to_owned(),
    ]
}
