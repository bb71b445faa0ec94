//! The statement that records a batch, whole in each of its four forms before the program runs.
//!
//! A form has what its batch needs and no more: the plain one is what nearly every batch takes.

/// One autocommit statement: the event, its body and its deliveries are there together or not at all.
///
/// `UNNEST` in the select list hands the arrays out row by row; in `FROM`, each array would be copied into a
/// table of its own first. The arrays come in the order of the dedupe key, and rows are inserted in that
/// order, so that two replicas can't deadlock on each other.
///
/// `more` are columns besides the usual ones and `from` the arrays that they come from; `conflict` is what
/// makes an event a copy; `order` is that of the deliveries.
macro_rules! record {
    (
        event: { more: $event_more:literal, from: $event_from:literal, conflict: $conflict:literal },
        delivery: { more: $delivery_more:literal, from: $delivery_from:literal, order: $order:literal },
    ) => {
        concat!(
            "WITH fresh AS (
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at", $event_more, ")
    SELECT id, source, event_id, dedupe_key, type, digest, size, held, now(), now() + make_interval(secs => keys)", $event_more, "
      FROM (SELECT UNNEST($1::uuid[]) AS id, UNNEST($2::text[]) AS source, UNNEST($3::text[]) AS event_id,
                   UNNEST($4::uuid[]) AS dedupe_key, UNNEST($5::text[]) AS type, UNNEST($6::bytea[]) AS digest,
                   UNNEST($7::int8[]) AS size, UNNEST($8::text[]) AS held, UNNEST($9::float8[]) AS keys", $event_from, ") AS input
        ON CONFLICT ", $conflict, " DO NOTHING
    RETURNING id, received_at
),
kept AS (
    INSERT INTO event_body (event_id, headers, body, expires_at)
    SELECT id, headers, body, now() + make_interval(secs => bodies)
      FROM (SELECT UNNEST($1::uuid[]) AS id, UNNEST($10::float8[]) AS bodies, UNNEST($11::bytea[]) AS headers,
                   UNNEST($12::bytea[]) AS body) AS input
     WHERE id IN (SELECT id FROM fresh)
),
opened AS (
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at,
                          lease_until, leased_by, source", $delivery_more, ")
    SELECT id, event_id, handler, CASE WHEN worker IS NULL THEN 'pending' ELSE 'leased' END, epoch::int4, now(), now(), epoch,
           CASE WHEN worker IS NOT NULL THEN now() END, now() + make_interval(secs => lease), worker, source", $delivery_more, "
      FROM (SELECT UNNEST($13::uuid[]) AS id, UNNEST($14::uuid[]) AS event_id, UNNEST($15::text[]) AS handler,
                   UNNEST($16::int8[]) AS epoch, UNNEST($17::text[]) AS worker, UNNEST($18::float8[]) AS lease,
                   UNNEST($19::text[]) AS source", $delivery_from, ") AS input
     WHERE event_id IN (SELECT id FROM fresh)", $order, "
)
SELECT id, received_at FROM fresh"
        )
    };
}

const PLAIN: &str = record! {
    event: { more: "", from: "", conflict: "(dedupe_key)" },
    delivery: { more: "", from: "", order: "" },
};

/// Without a target of its conflict, it passes over a row whose signed bytes are there, as it does over one
/// whose key is; it waits for another that is about to commit either.
const GUARDED: &str = record! {
    event: {
        more: ", signed_digest, replay_of",
        from: ", UNNEST($20::bytea[]) AS signed_digest, UNNEST($21::uuid[]) AS replay_of",
        conflict: ""
    },
    delivery: { more: "", from: "", order: "" },
};

/// Deliveries are inserted in the order of the lanes' locks, which the trigger takes row by row, so that two
/// replicas can't deadlock; in each lane, in the order in which the events came.
const LANED: &str = record! {
    event: { more: "", from: "", conflict: "(dedupe_key)" },
    delivery: {
        more: ", lane, lane_skip",
        from: ", UNNEST($20::text[]) AS lane, UNNEST($21::bool[]) AS lane_skip",
        order: " ORDER BY hookonce_lane_lock_of(handler, lane) NULLS FIRST, event_id"
    },
};

const GUARDED_LANED: &str = record! {
    event: {
        more: ", signed_digest, replay_of",
        from: ", UNNEST($20::bytea[]) AS signed_digest, UNNEST($21::uuid[]) AS replay_of",
        conflict: ""
    },
    delivery: {
        more: ", lane, lane_skip",
        from: ", UNNEST($22::text[]) AS lane, UNNEST($23::bool[]) AS lane_skip",
        order: " ORDER BY hookonce_lane_lock_of(handler, lane) NULLS FIRST, event_id"
    },
};

/// The statement of a batch: `guarded` where some of its events may be replays, `laned` where some of its
/// deliveries are in lanes. The parameters of the first come before those of the second.
pub(super) const fn record(guarded: bool, laned: bool) -> &'static str {
    match (guarded, laned) {
        (false, false) => PLAIN,
        (true, false) => GUARDED,
        (false, true) => LANED,
        (true, true) => GUARDED_LANED,
    }
}
