//! Two recipes that are often copied, as they are written, before the same service.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncTypedCommands, Client};
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::support::raw::RawRequest;
use crate::support::redis::RedisServer;
use crate::support::{Endpoint, TestDatabase};

/// A server that answers a request under a key.
pub(super) trait Peer {
    /// The answer; `None` when there is none for it. `dies`: the server is gone when the service has answered.
    async fn serve(&self, key: &str, dies: bool) -> Option<String>;
}

async fn run(service: &Endpoint) -> String {
    let answer = RawRequest::post("/payments", "{}").send(service.address()).await;
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// GET; when there is nothing, run; SETEX.
pub(super) struct NaiveRedis {
    redis: MultiplexedConnection,
    service: Arc<Endpoint>,
}

impl NaiveRedis {
    pub(super) async fn new(redis: &RedisServer, service: Arc<Endpoint>) -> Self {
        let client = Client::open(redis.url()).unwrap();
        Self { redis: client.get_multiplexed_async_connection().await.unwrap(), service }
    }
}

impl Peer for NaiveRedis {
    async fn serve(&self, key: &str, dies: bool) -> Option<String> {
        let mut redis = self.redis.clone();
        let key = format!("idempotency:{key}");
        if let Some(answer) = redis.get(&key).await.unwrap() {
            return Some(answer);
        }
        let answer = run(&self.service).await;
        if dies {
            return None;
        }
        redis.set_ex(&key, &answer, 86_400).await.unwrap();
        Some(answer)
    }
}

/// INSERT a row in processing, unless there is one; run; UPDATE it to completed.
pub(super) struct NaiveTable {
    pool: PgPool,
    service: Arc<Endpoint>,
}

impl NaiveTable {
    pub(super) async fn new(db: &TestDatabase, service: Arc<Endpoint>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "without housekeeping")]
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect(&db.url())
            .await
            .unwrap();
        let table =
            "CREATE TABLE naive (key text PRIMARY KEY, status text NOT NULL, response text)";
        sqlx::query(table).execute(&pool).await.unwrap();
        Self { pool, service }
    }
}

impl Peer for NaiveTable {
    async fn serve(&self, key: &str, dies: bool) -> Option<String> {
        let insert =
            "INSERT INTO naive (key, status) VALUES ($1, 'processing') ON CONFLICT DO NOTHING";
        let inserted = sqlx::query(insert).bind(key).execute(&self.pool).await.unwrap();
        if inserted.rows_affected() == 0 {
            let select = "SELECT response FROM naive WHERE key = $1";
            return sqlx::query_scalar(select).bind(key).fetch_one(&self.pool).await.unwrap();
        }
        let answer = run(&self.service).await;
        if dies {
            return None;
        }
        let update = "UPDATE naive SET status = 'completed', response = $2 WHERE key = $1";
        sqlx::query(update).bind(key).bind(&answer).execute(&self.pool).await.unwrap();
        Some(answer)
    }
}
