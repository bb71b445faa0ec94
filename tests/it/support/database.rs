//! A database of its own for each test: PostgreSQL's cloned from a template, SQLite's a fresh file.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookonce::store::{Migrate, Store, StoreSettings};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::OnceCell;

use super::postgres::PostgresServer;
use super::sqlite::SqliteFile;

/// The cluster that all tests of this process share. A static is never dropped: its guardian stops it when
/// the process ends.
static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();

const TEMPLATE: &str = "hookonce_template";

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Sqlite,
}

/// A migrated, empty database that is gone when the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    place: Arc<Place>,
}

#[derive(Debug)]
enum Place {
    /// In the shared cluster.
    Postgres {
        server: &'static PostgresServer,
        name: String,
    },
    /// In a cluster that the test owns, because it wants to kill it.
    Own {
        server: Arc<PostgresServer>,
        name: String,
    },
    Sqlite(SqliteFile),
}

impl TestDatabase {
    /// A new database on the shared PostgreSQL cluster.
    pub async fn postgres() -> Self {
        let server = shared().await;
        Self::clone_template(server, Some(TEMPLATE)).await
    }

    /// The same without our tables: for tests of migrations.
    pub async fn postgres_without_tables() -> Self {
        let server = shared().await;
        Self::clone_template(server, None).await
    }

    async fn clone_template(server: &'static PostgresServer, template: Option<&str>) -> Self {
        let name = fresh_name();
        create(server, &name, template).await;
        Self { place: Arc::new(Place::Postgres { server, name }) }
    }

    /// A database on a cluster of the test's own, without tables: whoever opens it first migrates it.
    pub async fn on(server: Arc<PostgresServer>) -> Self {
        let name = fresh_name();
        create(&server, &name, None).await;
        Self { place: Arc::new(Place::Own { server, name }) }
    }

    /// A new SQLite file with our tables.
    pub async fn sqlite() -> Self {
        let database = Self::sqlite_without_tables();
        migrate(&database.url()).await;
        database
    }

    /// A place for a SQLite file; nothing is there yet.
    pub fn sqlite_without_tables() -> Self {
        Self { place: Arc::new(Place::Sqlite(SqliteFile::new())) }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match &*self.place {
            Place::Postgres { .. } | Place::Own { .. } => Kind::Postgres,
            Place::Sqlite(_) => Kind::Sqlite,
        }
    }

    /// As the config's `database.url` writes it.
    pub fn url(&self) -> String {
        match &*self.place {
            Place::Postgres { server, name } => server.url(name),
            Place::Own { server, name } => server.url(name),
            Place::Sqlite(file) => file.url(),
        }
    }

    /// What a store needs to open it.
    pub fn settings(&self) -> StoreSettings {
        store_settings(self.url())
    }

    /// How a program that isn't ours connects to the SQLite file.
    ///
    /// # Panics
    /// When it is PostgreSQL.
    pub fn sqlite_options(&self) -> SqliteConnectOptions {
        assert_eq!(self.kind(), Kind::Sqlite);
        SqliteConnectOptions::from_str(&self.url()).unwrap().busy_timeout(Duration::from_secs(10))
    }

    /// The store on it.
    pub async fn store(&self) -> Store {
        Store::open(&self.settings()).await.expect("the store opens")
    }

    /// The one number that a query returns, by a connection of its own: what any other program would see.
    pub async fn number(&self, query: &str) -> i64 {
        self.try_number(query).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// [`TestDatabase::number`], for a database that may be away.
    pub async fn try_number(&self, query: &str) -> Result<i64, sqlx::Error> {
        let text = AssertSqlSafe(query.to_owned());
        match self.kind() {
            Kind::Postgres => {
                let mut connection = connect_postgres(&self.url()).await?;
                let number = sqlx::query_scalar(text).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(number)
            }
            Kind::Sqlite => {
                let mut connection = connect_sqlite(&self.url()).await?;
                let number = sqlx::query_scalar(text).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(number)
            }
        }
    }

    /// The first column of every row, as text: cast in the query what isn't.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        self.column(query).await
    }

    /// The first column of every row, as bytes.
    pub async fn bytes(&self, query: &str) -> Vec<Vec<u8>> {
        self.column(query).await
    }

    async fn column<T>(&self, query: &str) -> Vec<T>
    where
        T: Send + Unpin,
        (T,): for<'r> sqlx::FromRow<'r, PgRow> + for<'r> sqlx::FromRow<'r, SqliteRow>,
    {
        let text = AssertSqlSafe(query.to_owned());
        let rows: Vec<(T,)> = match self.kind() {
            Kind::Postgres => {
                let mut connection = connect_postgres(&self.url()).await.unwrap();
                sqlx::query_as(text).fetch_all(&mut connection).await
            }
            Kind::Sqlite => {
                let mut connection = connect_sqlite(&self.url()).await.unwrap();
                sqlx::query_as(text).fetch_all(&mut connection).await
            }
        }
        .unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.into_iter().map(|(value,)| value).collect()
    }

    /// Runs statements and returns how many rows the last one changed: tests move rows, not clocks.
    pub async fn run(&self, statement: &str) -> u64 {
        self.try_run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// [`TestDatabase::run`], for what the database is to refuse.
    pub async fn try_run(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let text = AssertSqlSafe(statement.to_owned());
        match self.kind() {
            Kind::Postgres => {
                let mut connection = connect_postgres(&self.url()).await?;
                connection.execute(text).await.map(|done| done.rows_affected())
            }
            Kind::Sqlite => {
                let mut connection = connect_sqlite(&self.url()).await?;
                connection.execute(text).await.map(|done| done.rows_affected())
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Postgres { server, name } = self else { return };
        let (url, name) = (server.url("postgres"), name.clone());
        // A destructor can't await, and may run inside a runtime: so on a thread of its own.
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = connect_postgres(&url).await?;
                // FORCE ends what a failed test left connected.
                connection.execute(drop_statement(&name)).await?;
                connection.close().await
            })
        })
        .join();
        match dropped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("a test's database stays until the cluster goes: {error}"),
            Err(_) => eprintln!("a test's database stays until the cluster goes"),
        }
    }
}

/// What a store needs to open a URL.
pub fn store_settings(url: String) -> StoreSettings {
    let statement_timeout = Duration::from_secs(30);
    StoreSettings {
        url,
        migrate: Migrate::Auto,
        connections: 8,
        statement_timeout,
        partition_bodies: false,
    }
}

async fn migrate(url: &str) {
    hookonce::store::migrate::up(&store_settings(url.to_owned()))
        .await
        .expect("our migrations apply");
}

fn drop_statement(name: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
}

/// The shared cluster, with the template migrated once.
async fn shared() -> &'static PostgresServer {
    SHARED
        .get_or_init(|| async {
            let server = PostgresServer::started().await;
            create(&server, TEMPLATE, None).await;
            migrate(&server.url(TEMPLATE)).await;
            server
        })
        .await
}

async fn create(server: &PostgresServer, name: &str, template: Option<&str>) {
    let mut connection = connect_postgres(&server.url("postgres")).await.unwrap();
    let template = template.unwrap_or("template1");
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

async fn connect_postgres(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::from_str(url)?.disable_statement_logging().connect().await
}

async fn connect_sqlite(url: &str) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?.busy_timeout(Duration::from_secs(10));
    options.disable_statement_logging().connect().await
}

fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("hookonce_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Defines a test that runs on both databases: `name::postgres` and `name::sqlite`.
#[macro_export]
macro_rules! both_databases {
    ($(#[$attribute:meta])* $name:ident, |$db:ident| $story:expr) => {
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let $db = $crate::support::TestDatabase::postgres().await;
                $story.await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let $db = $crate::support::TestDatabase::sqlite().await;
                $story.await;
            }
        }
    };
}
