//! What a request with a key is answered, row by row of the table in `docs/idempotency.md`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use futures::future::join_all;
use hookonce::idempotency::{
    Answer, AnswerBody, Begun, Concluded, Effect, Ended, Engine, OnUnknown, Refusal, Rules, Run,
};
use hookonce::metric::Metrics;
use hookonce::received::Headers;

use super::{MINUTE, PATIENCE, backdate, claim};
use crate::both_databases;
use crate::support::{PostgresServer, TestDatabase, within};

fn rules(on_unknown: OnUnknown) -> Arc<Rules> {
    Arc::new(Rules { on_unknown, ..Rules::new(Name::new("pay").unwrap()) })
}

async fn engine(db: &TestDatabase) -> Engine {
    // A disk that stands still for a moment is no answer of the table.
    Engine::new(db.store().await, Metrics::new()).patient(PATIENCE)
}

fn answered(status: u16) -> Ended {
    let body = AnswerBody::Whole(Bytes::from_static(b"{\"paid\":1}"));
    Ended::Answered(Answer { status, headers: Headers::new(), body })
}

async fn run(engine: &Engine, key: &str, rules: &Arc<Rules>) -> Box<Run> {
    match engine.begin(claim(key, 1), rules).await {
        Begun::Run(run) => run,
        other => panic!("{key}: {other:?}"),
    }
}

async fn refused(engine: &Engine, key: &str, request: u8, rules: &Arc<Rules>) -> Refusal {
    match engine.begin(claim(key, request), rules).await {
        Begun::Refused(refusal) => refusal,
        other => panic!("{key}: {other:?}"),
    }
}

async fn conclude(run: &Run, ended: &Ended) {
    assert!(matches!(run.conclude(ended).await, Concluded::Stands));
}

both_databases!(fifty_at_once_run_once_and_each_retry_gets_the_answer, |db| async move {
    let (engine, rules) = (engine(&db).await, rules(OnUnknown::Keep));
    let all = join_all((0..50).map(|_| engine.begin(claim("k", 1), &rules))).await;
    let mut runs: Vec<_> = all
        .into_iter()
        .filter_map(|it| if let Begun::Run(run) = it { Some(run) } else { None })
        .collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(refused(&engine, "k", 1, &rules).await, Refusal::InProgress);
    assert_eq!(refused(&engine, "k", 2, &rules).await, Refusal::Reused, "also while it runs");
    conclude(&runs.remove(0), &answered(201)).await;
    let Begun::Replay(answer) = engine.begin(claim("k", 1), &rules).await else { panic!() };
    assert_eq!((answer.status, answer.body.as_deref()), (201, Some(&b"{\"paid\":1}"[..])));
    assert_eq!(refused(&engine, "k", 2, &rules).await, Refusal::Reused);
});

both_databases!(a_run_that_nobody_heard_of_again_is_uncertain_or_taken_over, |db| async move {
    let engine = engine(&db).await;
    let rerun = rules(OnUnknown::Rerun);
    let local =
        Arc::new(Rules { effect: Effect::Transactional, ..(*rules(OnUnknown::Keep)).clone() });
    for (key, rules) in [("keep", rules(OnUnknown::Keep)), ("conflict", rules(OnUnknown::Conflict))]
    {
        let lost = run(&engine, key, &rules).await;
        assert_eq!(refused(&engine, key, 1, &rules).await, Refusal::InProgress);
        backdate(&db, "lease_until", key).await;
        assert_eq!(refused(&engine, key, 1, &rules).await, Refusal::Uncertain);
        assert_eq!(refused(&engine, key, 1, &rules).await, Refusal::Uncertain);
        // It comes back after all, and its answer is the answer.
        conclude(&lost, &answered(200)).await;
        assert!(matches!(engine.begin(claim(key, 1), &rules).await, Begun::Replay(_)));
    }
    for (key, rules) in [("rerun", rerun), ("local", local)] {
        let lost = run(&engine, key, &rules).await;
        backdate(&db, "lease_until", key).await;
        let next = run(&engine, key, &rules).await;
        assert_eq!(next.attempt(), 2);
        let Concluded::Overtaken(Begun::Refused(refusal)) = lost.conclude(&answered(200)).await
        else {
            panic!("a lost lease can't complete")
        };
        assert_eq!(refusal, Refusal::InProgress);
        conclude(&next, &answered(201)).await;
        let Concluded::Overtaken(Begun::Replay(answer)) = lost.conclude(&answered(200)).await
        else {
            panic!("a lost lease can't complete")
        };
        assert_eq!(answer.status, 201);
    }
});

both_databases!(what_may_run_again_is_given_back, |db| async move {
    let (engine, rules) = (engine(&db).await, rules(OnUnknown::Keep));
    for (attempt, ended) in
        [answered(429), answered(503), Ended::NotBegun("connection refused".to_owned())]
            .iter()
            .enumerate()
    {
        let run = run(&engine, "k", &rules).await;
        assert_eq!(run.attempt() as usize, attempt + 1);
        conclude(&run, ended).await;
        assert_eq!(refused(&engine, "k", 2, &rules).await, Refusal::Reused);
    }
    conclude(&*run(&engine, "k", &rules).await, &answered(500)).await;
    assert!(matches!(engine.begin(claim("k", 1), &rules).await, Begun::Replay(_)));
});

both_databases!(an_answer_too_large_to_keep_is_never_run_again, |db| async move {
    let (engine, rules) = (engine(&db).await, rules(OnUnknown::Rerun));
    let run = run(&engine, "k", &rules).await;
    let body = AnswerBody::TooLarge { bytes: 5 << 20, sha256: "ab".to_owned() };
    let ended = Ended::Answered(Answer { status: 200, headers: Headers::new(), body });
    conclude(&run, &ended).await;
    assert_eq!(refused(&engine, "k", 1, &rules).await, Refusal::NotStored(200));
    let notes = db.texts("SELECT failure FROM idempotency_key").await;
    assert_eq!(notes, ["the answer of 5242880 bytes was not kept, sha256 ab"]);
});

both_databases!(a_lease_is_renewed_while_the_run_works, |db| async move {
    let store = db.store().await;
    let engine = Engine::new(store.clone(), Metrics::new());
    let short = Duration::from_millis(300);
    let rules = Arc::new(Rules { lease: short, ..(*rules(OnUnknown::Keep)).clone() });
    let mut wish = claim("k", 1);
    wish.lease = short;
    let Begun::Run(run) = engine.begin(wish.clone(), &rules).await else { panic!() };
    // Several leases long: the work ends when the row's lease has been moved four times.
    let work = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 5 {
            seen.extend(db.texts("SELECT CAST(lease_until AS text) FROM idempotency_key").await);
        }
    };
    let work = within(PATIENCE, "four renewals", work);
    run.guard(work).await;
    conclude(&run, &answered(200)).await;
});

both_databases!(a_caller_that_goes_away_before_the_run_leaves_nothing_taken, |db| async move {
    let (engine, rules) = (engine(&db).await, rules(OnUnknown::Keep));
    for _ in 0..20 {
        // Dropped at its first await: the claim may be on its way.
        let begun = engine.begin(claim("k", 1), &rules);
        if let Ok(Begun::Run(run)) = tokio::time::timeout(Duration::ZERO, begun).await {
            run.give_back("a test").await;
        }
    }
    within(PATIENCE, "the key to be free", async {
        loop {
            if let Begun::Run(run) = engine.begin(claim("k", 1), &rules).await {
                break run.give_back("a test").await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
});

both_databases!(a_retry_may_wait_for_the_run, |db| async move {
    let engine = engine(&db).await;
    let waiting = Arc::new(Rules { wait: MINUTE, ..(*rules(OnUnknown::Keep)).clone() });
    let run = run(&engine, "k", &waiting).await;
    let retry = {
        let (engine, rules) = (engine.clone(), Arc::clone(&waiting));
        tokio::spawn(async move { engine.begin(claim("k", 1), &rules).await })
    };
    conclude(&run, &answered(200)).await;
    let begun = within(PATIENCE, "the retry", retry).await.unwrap();
    assert!(matches!(begun, Begun::Replay(_)), "{begun:?}");
});

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_dead_nothing_runs_unless_it_was_asked_for() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let engine = Engine::new(db.store().await, Metrics::new());
    let closed = rules(OnUnknown::Keep);
    let open = Arc::new(Rules { fail_open: true, ..(*closed).clone() });
    server.kill();
    let refusal = within(PATIENCE, "a refusal", refused(&engine, "k", 1, &closed)).await;
    assert_eq!((refusal.status(), refusal.code()), (503, "store_unavailable"));
    let begun = within(PATIENCE, "an answer", engine.begin(claim("k", 1), &open)).await;
    assert!(matches!(begun, Begun::Unguarded), "{begun:?}");
}
