//! Connections of the hot paths: between two calls they stay at hand.
//!
//! A pool asks each connection that comes back whether it still answers, in a task of its own, and hands it out
//! only then: a round trip and two changes of threads for each batch. So a connection whose call went well rests
//! here, and is asked once a second. A call that failed hands it back to the pool, which asks as ever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;

use super::connect::no_answer;
use super::error::{StoreError, read_only};
use super::pool::{self, ACQUIRE_TIMEOUT};

/// A connection that was last asked before this is asked whether its server may still write: after a failover a
/// connection stays with the demoted primary, and a ping passes there.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Connections for single autocommit statements.
#[derive(Debug)]
pub(super) struct HotPool {
    pool: PgPool,
    /// As many as there may be connections. Whoever waits, waits for one of these: a connection that comes to rest
    /// is none that the pool could give him.
    turns: Semaphore,
    /// The one that rested last is taken first: one session does all the work where one is enough.
    resting: Mutex<Vec<Rested>>,
    patience: Duration,
}

#[derive(Debug)]
struct Rested {
    connection: PoolConnection<Postgres>,
    /// When it came from the pool.
    since: Instant,
    /// When it was last known to serve; `None` since another one's call failed.
    asked: Option<Instant>,
}

/// A connection for one call of autocommit statements.
pub(super) struct Hot<'a> {
    home: &'a HotPool,
    rested: Rested,
    _turn: SemaphorePermit<'a>,
}

impl HotPool {
    /// At most so many connections, made when they are needed. `patience` is how long to wait for the answer of a call.
    pub(super) fn new(connections: u32, options: PgConnectOptions, patience: Duration) -> Self {
        Self {
            pool: pool::asked(connections).connect_lazy_with(options),
            turns: Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS)),
            resting: Mutex::default(),
            patience,
        }
    }

    /// A pool of one connection to the same server: for one thread, whose runtime is then the one that hears of answers.
    pub(super) fn for_one_thread(&self) -> Self {
        Self::new(1, (*self.pool.connect_options()).clone(), self.patience)
    }

    /// A connection, within the time that one may be waited for. Whoever comes first is served first.
    pub(super) async fn take(&self) -> Result<Hot<'_>, StoreError> {
        let taken = tokio::time::timeout(ACQUIRE_TIMEOUT, self.taken()).await;
        taken.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
    }

    async fn taken(&self) -> Result<Hot<'_>, StoreError> {
        let turn = self.turns.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let rested = match self.rested().await {
            Some(rested) => rested,
            None => {
                let connection = self.pool.acquire().await?;
                let now = Instant::now();
                Rested { connection, since: now, asked: Some(now) }
            }
        };
        Ok(Hot { home: self, rested, _turn: turn })
    }

    /// One that rests and serves.
    async fn rested(&self) -> Option<Rested> {
        loop {
            let mut rested = self.resting().pop()?;
            if pool::is_old(rested.since.elapsed()) {
                rested.connection.close_on_drop();
                continue;
            }
            if rested.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
                return Some(rested);
            }
            let answer = pool::answering(pool::writable(&mut rested.connection)).await;
            if matches!(answer, Ok(true)) {
                rested.asked = Some(Instant::now());
                return Some(rested);
            }
            tracing::debug!(answer = ?answer, "a resting connection serves no longer");
            drop(rested.connection.detach());
            // The others lead to the same server: each would be waited for.
            self.let_go();
        }
    }

    /// Closes all connections; those in use are closed when their call ends.
    pub(super) async fn close(&self) {
        self.turns.close();
        // Closed from here on: nothing more comes to rest, and what rests already must not be waited for.
        let closed = self.pool.close();
        let resting = std::mem::take(&mut *self.resting());
        for rested in resting {
            if let Err(error) = rested.connection.close().await {
                tracing::debug!(error = %error, "a connection was not closed politely");
            }
        }
        closed.await;
    }

    fn rest(&self, rested: Rested) {
        let mut resting = self.resting();
        if !self.pool.is_closed() {
            resting.push(rested);
        }
    }

    /// Lets each that rests be asked before it serves again.
    fn doubt(&self) {
        self.resting().iter_mut().for_each(|rested| rested.asked = None);
    }

    /// Without a word to their server, and without the pool, which would ask them in tasks of a runtime.
    fn let_go(&self) {
        for rested in std::mem::take(&mut *self.resting()) {
            drop(rested.connection.detach());
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Rested>> {
        // A poisoned lock still holds a whole list.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HotPool {
    fn drop(&mut self) {
        // Where a store is dropped there may be no runtime.
        self.let_go();
    }
}

impl Hot<'_> {
    /// How long to wait for the answer.
    pub(super) fn patience(&self) -> Duration {
        self.home.patience
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.rested.connection
    }

    /// Lays the connection down for the next call, unless this one failed: then the pool sees whether it can still be
    /// used. One that was silent for too long, or turned out to lead to a demoted primary, must not serve again.
    pub(super) fn finish<T>(
        mut self,
        answer: Result<Result<T, StoreError>, Elapsed>,
    ) -> Result<T, StoreError> {
        let Ok(result) = answer else {
            // Dropped, not handed back: nobody may use a connection with a statement under way, and
            // the one task that works here must not wait for a machine that has died.
            drop(self.rested.connection.detach());
            self.home.doubt();
            return Err(StoreError::Transient(no_answer()));
        };
        match &result {
            Ok(_) => self.home.rest(self.rested),
            Err(StoreError::Transient(error)) => {
                // What ended this one may have ended all of them: the next call must not find out by failing, too.
                self.home.doubt();
                if read_only(error) {
                    self.rested.connection.close_on_drop();
                }
            }
            Err(_) => {}
        }
        result
    }
}
