//! A database of its own for each test, on one server, or on one that the test may kill.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod node;
pub(crate) mod proxy;

use std::sync::{Arc, Mutex, OnceLock};

use flushcast_core::wire::Incarnation;
use flushcast_postgres::{PollError, Polled, Row, Snapshot, install, poll};
use flushcast_servers::Postgres;
use tokio_postgres::{Client, NoTls, connect};

/// The server that those share who leave it alone. It ends with the process.
static SHARED: OnceLock<Arc<Mutex<Postgres>>> = OnceLock::new();

/// Who reads and is no member.
pub(crate) const NOBODY: Incarnation = Incarnation([0; 16]);

pub(crate) struct Database {
    server: Arc<Mutex<Postgres>>,
    name: String,
}

impl Database {
    /// With the schema in it.
    pub(crate) async fn new() -> Self {
        let database = Self::empty().await;
        install(&mut database.client().await).await.unwrap();
        database
    }

    pub(crate) async fn empty() -> Self {
        let start = || Arc::new(Mutex::new(Postgres::start().unwrap()));
        Self::on(Arc::clone(SHARED.get_or_init(start))).await
    }

    /// On a server of its own, which the test may kill.
    pub(crate) async fn alone() -> Self {
        let database = Self::on(Arc::new(Mutex::new(Postgres::start().unwrap()))).await;
        install(&mut database.client().await).await.unwrap();
        database
    }

    async fn on(server: Arc<Mutex<Postgres>>) -> Self {
        let url = server.lock().unwrap().url("postgres");
        let name = format!("test_{:016x}", fastrand::u64(..));
        client(&url).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { server, name }
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.url()).await
    }

    pub(crate) fn url(&self) -> String {
        self.server.lock().unwrap().url(&self.name)
    }

    pub(crate) fn kill(&self) {
        self.server.lock().unwrap().kill();
    }

    /// Nobody may be connected.
    pub(crate) async fn copy(&self) -> Self {
        let url = self.server.lock().unwrap().url("postgres");
        let name = format!("copy_{:016x}", fastrand::u64(..));
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        let client = client(&url).await;
        // A connection that was dropped ends a moment later.
        while client.batch_execute(&sql).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { server: Arc::clone(&self.server), name }
    }

    /// As another user, who needs no password.
    pub(crate) fn url_of(&self, role: &str) -> String {
        self.url().replace("//postgres@", &format!("//{role}@"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    pub(crate) fn url_at(&self, port: u16) -> String {
        self.url().replace(&format!(":{}/", self.port()), &format!(":{port}/"))
    }

    /// Killed, and started again as a standby without a primary.
    pub(crate) async fn kill_and_stand_by(&self) {
        self.server.lock().unwrap().stand_by().unwrap();
    }

    /// Blocks meanwhile.
    pub(crate) async fn kill_and_start(&self) {
        self.server.lock().unwrap().start_again().unwrap();
    }
}

async fn client(url: &str) -> Client {
    let (client, connection) = connect(url, NoTls).await.unwrap();
    // It ends with the client, or with the server, of which the client tells.
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Polls, and keeps its place.
pub(crate) struct Reader {
    client: Client,
    position: Snapshot,
}

impl Reader {
    pub(crate) async fn at_the_end(database: &Database) -> Self {
        let client = database.client().await;
        let position = poll(&client, None, NOBODY).await.unwrap().position;
        Self { client, position }
    }

    pub(crate) async fn connect_again(&mut self, database: &Database) {
        self.client = database.client().await;
    }

    pub(crate) async fn try_poll(&mut self) -> Result<Polled, PollError> {
        let polled = poll(&self.client, Some(&self.position), NOBODY).await?;
        self.position = polled.position.clone();
        Ok(polled)
    }

    pub(crate) async fn poll(&mut self) -> Polled {
        self.try_poll().await.unwrap()
    }

    /// The keys, tags and prefixes, in order of their writing where one transaction wrote them.
    pub(crate) async fn read(&mut self) -> Vec<String> {
        let polled = self.poll().await;
        assert!(polled.is_whole);
        keys(&polled.rows)
    }
}

pub(crate) fn keys(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.text.clone()).collect()
}
