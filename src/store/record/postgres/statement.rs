//! The statement that records a batch, whole in each of its twelve forms before the program runs.
//!
//! A form has what its batch needs and no more: nearly every batch takes a plain one, and one without
//! deliveries spares the server a third of the plan. An event that comes alone, as nearly all do where little
//! comes, is not dealt out of its arrays as if there were more.

/// What the deliveries of a batch need of its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Births {
    /// There are none.
    None,
    /// None of them is in a lane.
    Plain,
    /// Some are.
    Laned,
}

/// What an input is of an array: each of its elements, a row each, or the only one.
macro_rules! of {
    ( many, $array:literal ) => {
        concat!("UNNEST(", $array, ")")
    };
    ( one, $array:literal ) => {
        concat!("(", $array, ")[1]")
    };
}

/// One autocommit statement: the event, its body and its deliveries are there together or not at all.
///
/// `UNNEST` in the select list hands the arrays out row by row; in `FROM`, each array would be copied into a
/// table of its own first. The arrays come in the order of the dedupe key, and rows are inserted in that
/// order, so that two replicas can't deadlock on each other.
///
/// `IS TRUE` behind `IN` keeps it a look into a table of hashes: as a join, which it would be else, each body was
/// compared with each new event, and all bodies were copied for it.
///
/// `more` are columns besides the usual ones and `from` the arrays that they come from; `conflict` is what
/// makes an event a copy; `opened` are the deliveries.
macro_rules! record {
    ( $rows:ident, more: $more:literal, from: $from:expr, conflict: $conflict:literal, opened: $opened:expr ) => {
        concat!(
            "WITH fresh AS (
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at", $more, ")
    SELECT id, source, event_id, dedupe_key, type, digest, size, held, now(), now() + make_interval(secs => keys)", $more, "
      FROM (SELECT ", of!($rows, "$1::uuid[]"), " AS id, ", of!($rows, "$2::text[]"), " AS source,
                   ", of!($rows, "$3::text[]"), " AS event_id, ", of!($rows, "$4::uuid[]"), " AS dedupe_key,
                   ", of!($rows, "$5::text[]"), " AS type, ", of!($rows, "$6::bytea[]"), " AS digest,
                   ", of!($rows, "$7::int8[]"), " AS size, ", of!($rows, "$8::text[]"), " AS held,
                   ", of!($rows, "$9::float8[]"), " AS keys", $from, ") AS input
        ON CONFLICT ", $conflict, " DO NOTHING
    RETURNING id, received_at
),
kept AS (
    INSERT INTO event_body (event_id, headers, body, expires_at)
    SELECT id, headers, body, now() + make_interval(secs => bodies)
      FROM (SELECT ", of!($rows, "$1::uuid[]"), " AS id, ", of!($rows, "$10::float8[]"), " AS bodies,
                   ", of!($rows, "$11::bytea[]"), " AS headers, ", of!($rows, "$12::bytea[]"), " AS body) AS input
     WHERE (id IN (SELECT id FROM fresh)) IS TRUE
)", $opened, "
SELECT id, received_at FROM fresh"
        )
    };
}

/// The deliveries, of which one event may have several. `more` and `from` as above; `order` is that in which they are
/// inserted.
macro_rules! opened {
    ( more: $more:literal, from: $from:literal, order: $order:literal ) => {
        concat!(
            ",
opened AS (
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at,
                          lease_until, leased_by, source", $more, ")
    SELECT id, event_id, handler, CASE WHEN worker IS NULL THEN 'pending' ELSE 'leased' END, epoch::int4, now(), now(), epoch,
           CASE WHEN worker IS NOT NULL THEN now() END, now() + make_interval(secs => lease), worker, source", $more, "
      FROM (SELECT UNNEST($13::uuid[]) AS id, UNNEST($14::uuid[]) AS event_id, UNNEST($15::text[]) AS handler,
                   UNNEST($16::int8[]) AS epoch, UNNEST($17::text[]) AS worker, UNNEST($18::float8[]) AS lease,
                   UNNEST($19::text[]) AS source", $from, ") AS input
     WHERE (event_id IN (SELECT id FROM fresh)) IS TRUE", $order, "
)"
        )
    };
}

macro_rules! plain {
    () => {
        opened! { more: "", from: "", order: "" }
    };
}

/// Deliveries are inserted in the order of the lanes' locks, which the trigger takes row by row, so that two
/// replicas can't deadlock; in each lane, in the order in which the events came.
macro_rules! laned {
    ( $from:literal ) => {
        opened! {
            more: ", lane, lane_skip",
            from: $from,
            order: " ORDER BY hookonce_lane_lock_of(handler, lane) NULLS FIRST, event_id"
        }
    };
}

macro_rules! usual {
    ( $rows:ident, $opened:expr ) => {
        record! { $rows, more: "", from: "", conflict: "(dedupe_key)", opened: $opened }
    };
}

/// Without a target of its conflict, it passes over a row whose signed bytes are there, as it does over one
/// whose key is; it waits for another that is about to commit either.
macro_rules! guarded {
    ( $rows:ident, $signed:literal, $replay:literal, $opened:expr ) => {
        record! {
            $rows,
            more: ", signed_digest, replay_of",
            from: concat!(", ", of!($rows, $signed), " AS signed_digest, ", of!($rows, $replay), " AS replay_of"),
            conflict: "",
            opened: $opened
        }
    };
}

/// The forms for many events, or for one.
macro_rules! forms {
    ( $rows:ident, $guarded:expr, $births:expr ) => {
        match ($guarded, $births) {
            (false, Births::None) => usual!($rows, ""),
            (false, Births::Plain) => usual!($rows, plain!()),
            (false, Births::Laned) => {
                usual!(
                    $rows,
                    laned!(", UNNEST($20::text[]) AS lane, UNNEST($21::bool[]) AS lane_skip")
                )
            }
            (true, Births::None) => guarded!($rows, "$13::bytea[]", "$14::uuid[]", ""),
            (true, Births::Plain) => guarded!($rows, "$20::bytea[]", "$21::uuid[]", plain!()),
            (true, Births::Laned) => guarded!(
                $rows,
                "$20::bytea[]",
                "$21::uuid[]",
                laned!(", UNNEST($22::text[]) AS lane, UNNEST($23::bool[]) AS lane_skip")
            ),
        }
    };
}

/// The statement of a batch of `rows` events: `guarded` where some of them may be replays. Those parameters come after
/// the deliveries', if there are any, and the lanes' come last. All are arrays, however many events there are.
pub(super) const fn record(rows: usize, guarded: bool, births: Births) -> &'static str {
    if rows == 1 { forms!(one, guarded, births) } else { forms!(many, guarded, births) }
}
