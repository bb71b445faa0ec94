//! A cache of answers changes latency only, whatever Redis does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use futures::future::join_all;
use hookonce::idempotency::{
    Answer, AnswerBody, Begun, Cache, Concluded, Ended, Engine, OnUnknown, RedisAddress, Refusal,
    Rules,
};
use hookonce::metric::Metrics;
use hookonce::received::Headers;
use hookonce::secret::Secret;
use hookonce::store::Store;
use hookonce::store::idempotency::{KeyAnswer, KeyClaim};

use super::{PATIENCE, claim, id};
use crate::both_databases;
use crate::support::redis::RedisServer;
use crate::support::{Kind, TestDatabase, eventually, within};

mod doors;

/// One replica, and what it counts.
struct Replica {
    engine: Engine,
    metrics: Metrics,
    rules: Arc<Rules>,
}

impl Replica {
    async fn new(db: &TestDatabase, redis: &RedisServer) -> Self {
        Self::on(db.store().await, redis)
    }

    fn on(store: Store, redis: &RedisServer) -> Self {
        let metrics = Metrics::new();
        let address = RedisAddress::new(Secret::new(redis.url())).unwrap();
        let cache = Cache::new(&address, store.clone());
        let engine = Engine::new(store, metrics.clone()).patient(PATIENCE).cached(cache);
        Self { engine, metrics, rules: Arc::new(Rules::new(Name::new("pay").unwrap())) }
    }

    fn count(&self, outcome: &str) -> u64 {
        counted(&self.metrics.render(), outcome)
    }

    async fn begin(&self, wish: KeyClaim) -> Begun {
        within(PATIENCE, "a decision", self.engine.begin(wish, &self.rules)).await
    }

    /// Runs a key, to this answer.
    async fn pay(&self, wish: KeyClaim, body: &str) {
        let Begun::Run(run) = self.begin(wish).await else { panic!("it runs") };
        let mut headers = Headers::new();
        headers.push("content-type", "text/plain");
        let body = AnswerBody::Whole(Bytes::from(body.to_owned()));
        let ended = Ended::Answered(Answer { status: 201, headers, body });
        assert!(matches!(run.conclude(&ended).await, Concluded::Stands));
    }

    async fn replay(&self, key: &str) -> KeyAnswer {
        match self.begin(claim(key, 1)).await {
            Begun::Replay(answer) => *answer,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Asks until an answer came out of the cache, and gives that one. A machine may be too busy for 50 ms.
    async fn hit(&self, key: &str) -> KeyAnswer {
        self.replay_as(key, "hit").await
    }

    /// Asks until the cache's part in it was this.
    async fn replay_as(&self, key: &str, outcome: &str) -> KeyAnswer {
        eventually(PATIENCE, &format!("{key} as {outcome}"), || async {
            let before = self.count(outcome);
            let answer = self.replay(key).await;
            (self.count(outcome) > before).then_some(answer)
        })
        .await
    }
}

/// How often the cache's part was this.
pub fn counted(metrics: &str, outcome: &str) -> u64 {
    let line =
        format!("hookonce_idempotency_cache_total{{gateway=\"pay\",outcome=\"{outcome}\"}} ");
    metrics
        .lines()
        .find_map(|it| it.strip_prefix(&line))
        .map_or(0, |number| number.parse().expect("a number"))
}

fn text(answer: &KeyAnswer) -> String {
    String::from_utf8(answer.body.as_ref().expect("a body").to_vec()).unwrap()
}

/// Lets rows be changed behind the cache's back, to tell its answers from the row's.
async fn blind(db: &TestDatabase) {
    for trigger in ["idempotency_key_answer_changed", "idempotency_key_answer_deleted"] {
        db.run(&match db.kind() {
            Kind::Postgres => format!("DROP TRIGGER {trigger} ON idempotency_key"),
            Kind::Sqlite => format!("DROP TRIGGER {trigger}"),
        })
        .await;
    }
}

async fn one_name(redis: &RedisServer) -> String {
    eventually(PATIENCE, "an entry", || async { redis.names().await.pop() }).await
}

/// The names but for this one: its entry may have been on its way when Redis was told to forget it.
async fn names_beside(redis: &RedisServer, warm: &str) -> Vec<String> {
    let mut names = redis.names().await;
    names.retain(|name| name != warm);
    names
}

both_databases!(a_hit_is_the_same_answer_and_the_database_is_not_asked, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    replica.pay(claim("k", 1), "paid").await;
    let from_row = replica.replay_forgotten("k", &redis).await;
    let cached = replica.hit("k").await;
    assert_eq!(cached, from_row);
    assert_eq!((cached.status, text(&cached).as_str()), (201, "paid"));
    blind(&db).await;
    let other = match db.kind() {
        Kind::Postgres => r"'\x6f74686572'",
        Kind::Sqlite => "x'6f74686572'",
    };
    db.run(&format!("UPDATE idempotency_key SET response_body = {other}")).await;
    assert_eq!(text(&replica.hit("k").await), "paid", "Redis has it");
    // Another request under the key is refused as without a cache.
    let refused = replica.begin(claim("k", 2)).await;
    assert!(matches!(refused, Begun::Refused(Refusal::Reused)), "{refused:?}");
    // Another scope has no part in it.
    let mut bob = claim("k", 1);
    bob.id.scope = "pay:bob".to_owned();
    replica.pay(bob, "bob's").await;
    let from_row = replica.replay_forgotten("k", &redis).await;
    assert_eq!(text(&from_row), "other", "forgotten, the row answers");
    assert_eq!(text(&replica.hit("k").await), "other", "and fills the cache again");
    // Nothing in Redis can be read there.
    for name in redis.names().await {
        let bytes = redis.get(&name).await;
        for word in [&b"other"[..], b"text/plain", b"pay:"] {
            assert!(!bytes.windows(word.len()).any(|it| it == word));
        }
        assert!(!name.contains("pay"), "{name}");
        let left: i64 = redis.ask(redis::cmd("PTTL").arg(&name)).await;
        assert!((1..=3_600_000).contains(&left), "{left} ms of the key's hour");
    }
});

both_databases!(a_lying_redis_is_not_believed, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    replica.pay(claim("a", 1), "to a").await;
    replica.hit("a").await;
    let name = one_name(&redis).await;
    let of_a = redis.get(&name).await;
    redis.flush().await;
    replica.pay(claim("b", 1), "to b").await;
    replica.hit("b").await;
    let name = one_name(&redis).await;
    let of_b = redis.get(&name).await;
    let mut flipped = of_b.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let empty_text = b"{\"status\":200}".to_vec();
    for lie in [of_a, flipped, of_b[1..].to_vec(), empty_text, vec![0; 1 << 20]] {
        assert_eq!(text(&replica.replay_as_lied("b", &redis, &name, &lie).await), "to b");
    }
    // A value of another kind is an error, and the row answers.
    let swap = "redis.call('DEL', KEYS[1]); redis.call('LPUSH', KEYS[1], 'x')";
    let answer = eventually(PATIENCE, "the error to be seen", || async {
        // In one step, and again: an answer that is on its way into the cache may come between or after.
        redis.ask::<()>(redis::cmd("EVAL").arg(swap).arg(1).arg(&name)).await;
        let before = replica.count("error");
        let answer = replica.replay("b").await;
        (replica.count("error") > before).then_some(answer)
    });
    assert_eq!(text(&answer.await), "to b");
});

impl Replica {
    /// Asks until Redis, which has forgotten everything, is seen to have nothing: an answer that is on its
    /// way into the cache may come after the forgetting.
    async fn replay_forgotten(&self, key: &str, redis: &RedisServer) -> KeyAnswer {
        eventually(PATIENCE, "a miss", || async {
            redis.flush().await;
            let before = self.count("miss");
            let answer = self.replay(key).await;
            (self.count("miss") > before).then_some(answer)
        })
        .await
    }

    /// Tells the lie until it was looked at and refused.
    async fn replay_as_lied(
        &self,
        key: &str,
        redis: &RedisServer,
        name: &str,
        lie: &[u8],
    ) -> KeyAnswer {
        eventually(PATIENCE, "the lie to be seen", || async {
            redis.set(name, lie).await;
            let before = self.count("rejected");
            let answer = self.replay(key).await;
            (self.count("rejected") > before).then_some(answer)
        })
        .await
    }
}

both_databases!(a_key_that_expired_runs_anew_though_redis_has_its_answer, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    replica.pay(claim("warm", 1), "warm").await;
    replica.hit("warm").await;
    let warm = one_name(&redis).await;
    redis.flush().await;
    let brief = || KeyClaim { ttl: Duration::from_secs(12), ..claim("k", 1) };
    replica.pay(brief(), "first").await;
    assert_eq!(text(&replica.hit("k").await), "first");
    let name = names_beside(&redis, &warm).await.remove(0);
    let old = redis.get(&name).await;
    redis.ask::<()>(redis::cmd("PERSIST").arg(&name)).await;
    let run = eventually(2 * PATIENCE, "a run", || async {
        redis.set(&name, &old).await;
        match replica.begin(claim("k", 1)).await {
            Begun::Run(run) => Some(run),
            Begun::Replay(answer) => {
                assert_eq!(text(&answer), "first");
                None
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(redis.get(&name).await, old, "Redis has it still");
    let body = AnswerBody::Whole(Bytes::from_static(b"second"));
    let ended = Ended::Answered(Answer { status: 200, headers: Headers::new(), body });
    assert!(matches!(run.conclude(&ended).await, Concluded::Stands));
    // The old entry, put back where it was.
    let answer = replica.replay_as_lied("k", &redis, &name, &old).await;
    assert_eq!(text(&answer), "second");
    assert_eq!(text(&replica.hit("k").await), "second");
});

both_databases!(a_released_key_runs_at_every_replica_whatever_redis_keeps, |db| async move {
    let redis = RedisServer::start().await;
    // SQLite serves one process, which may have two of these all the same.
    let store = db.store().await;
    let (one, other) = (Replica::on(store.clone(), &redis), Replica::on(store.clone(), &redis));
    one.pay(claim("k", 1), "first").await;
    one.hit("k").await;
    other.hit("k").await;
    // Redis is away when it is released, and comes back as it was.
    redis.freeze();
    assert!(store.release_key(id("k"), None, "a test".to_owned()).await.unwrap());
    redis.thaw();
    other.pay(claim("k", 1), "second").await;
    assert_eq!(text(&one.replay("k").await), "second");
    assert_eq!(text(&one.hit("k").await), "second");
    assert_eq!(text(&other.hit("k").await), "second");
    // So does one that somebody deletes by hand, once the replicas have seen it.
    db.run("DELETE FROM idempotency_key WHERE key = 'k'").await;
    eventually(PATIENCE, "a run", || async {
        match one.begin(claim("k", 1)).await {
            Begun::Run(run) => {
                run.give_back("a test").await;
                Some(())
            }
            _ => None,
        }
    })
    .await;
});

both_databases!(redis_dead_or_silent_costs_no_answer, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    replica.pay(claim("k", 1), "paid").await;
    replica.hit("k").await;
    redis.freeze();
    assert_eq!(text(&replica.replay_as("k", "error").await), "paid");
    assert_eq!(text(&replica.replay_as("k", "skipped").await), "paid");
    replica.pay(claim("while frozen", 1), "paid").await;
    redis.thaw();
    replica.hit("k").await;
    redis.kill();
    assert_eq!(text(&replica.replay("k").await), "paid");
    assert_eq!(text(&replica.replay_as("k", "skipped").await), "paid");
    replica.pay(claim("while dead", 1), "paid").await;
    redis.restart().await;
    for key in ["k", "while frozen", "while dead"] {
        assert_eq!(text(&replica.hit(key).await), "paid");
    }
});

both_databases!(many_at_once_run_once_a_key_with_a_cache, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    let waiting = Arc::new(Rules { wait: PATIENCE, ..(*replica.rules).clone() });
    let all = (0..200).map(|at| {
        let (engine, rules) = (replica.engine.clone(), Arc::clone(&waiting));
        async move {
            let key = format!("k{}", at % 8);
            match engine.begin(claim(&key, 1), &rules).await {
                Begun::Run(run) => {
                    let body = AnswerBody::Whole(Bytes::from(key));
                    let answer = Answer { status: 201, headers: Headers::new(), body };
                    let concluded = run.conclude(&Ended::Answered(answer)).await;
                    assert!(matches!(concluded, Concluded::Stands));
                    1
                }
                Begun::Replay(answer) => {
                    assert_eq!(text(&answer), key);
                    0
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let runs: usize = within(PATIENCE * 2, "all", join_all(all)).await.into_iter().sum();
    assert_eq!(runs, 8);
});

both_databases!(what_is_not_completed_is_never_cached, |db| async move {
    let redis = RedisServer::start().await;
    let replica = Replica::new(&db, &redis).await;
    replica.pay(claim("warm", 1), "warm").await;
    replica.hit("warm").await;
    let warm = one_name(&redis).await;
    redis.flush().await;
    let rules = Arc::new(Rules { on_unknown: OnUnknown::Conflict, ..(*replica.rules).clone() });
    let large = AnswerBody::Whole(Bytes::from(vec![b'x'; 300 << 10]));
    let too_large = AnswerBody::TooLarge { bytes: 5 << 20, sha256: "ab".to_owned() };
    for (key, status, body) in [
        ("released", 429, AnswerBody::Whole(Bytes::new())),
        ("uncertain", 500, AnswerBody::Whole(Bytes::new())),
        ("not kept", 200, too_large),
        ("large", 200, large),
    ] {
        let Begun::Run(run) = replica.engine.begin(claim(key, 1), &rules).await else {
            panic!("{key}")
        };
        let ended = Ended::Answered(Answer { status, headers: Headers::new(), body });
        assert!(matches!(run.conclude(&ended).await, Concluded::Stands));
        let run = replica.engine.begin(claim(key, 1), &rules).await;
        if let Begun::Run(run) = run {
            run.give_back("a test").await;
        }
    }
    // What comes after them in the queue is there: they would be, too.
    replica.pay(claim("last", 1), "last").await;
    replica.hit("last").await;
    assert_eq!(names_beside(&redis, &warm).await.len(), 1);
});
