//! Rows of a database behind a cache: the queries stand in one type, and so do the flushes.
//! `cargo run -p flushcast --example orders`
//!
//! The database is SQLite, reached as sqlx's pools are: `fetch`, `execute`, each awaited.
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flushcast::discovery::Fixed;
use flushcast::{Cache, Loaded, Node, ReadThrough};
use rusqlite::{Connection, Params, Row};

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Order {
    id: i64,
    customer: i64,
    text: String,
}

impl Order {
    const COLUMNS: &str = "SELECT id, customer, text FROM orders";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, customer: row.get(1)?, text: row.get(2)? })
    }

    fn shown(&self) -> String {
        format!("customer {}: {}", self.customer, self.text)
    }

    /// What a copy depends on besides its key.
    fn loaded(self) -> Loaded<Option<Arc<Self>>> {
        let tag = format!("customer {}", self.customer);
        Loaded::found(Some(Arc::new(self))).tag(tag)
    }
}

/// All that the app knows of orders.
struct Orders {
    pool: Pool,
    rows: ReadThrough<i64, Option<Arc<Order>>, String>,
}

impl Orders {
    fn new(pool: Pool, node: &Node) -> Result<Self, flushcast::CacheError> {
        let cache: Cache<i64, Option<Arc<Order>>> = node
            .cache("orders")
            .capacity(100_000)
            .absent_time_to_live(Duration::from_secs(5))
            .build()?;
        let (one, many) = (pool.clone(), pool.clone());
        let rows = cache.with_loader(move |id: i64| {
            let pool = one.clone();
            async move {
                let query = format!("{} WHERE id = ?1", Order::COLUMNS);
                let row = pool.fetch(query, [id]).await?.pop();
                Ok(row.map_or_else(Loaded::absent, Order::loaded))
            }
        });
        let rows = rows.bulk_loader(move |ids| {
            let pool = many.clone();
            async move {
                let ids = format!("{ids:?}"); // as a JSON list
                let query =
                    format!("{} WHERE id IN (SELECT value FROM json_each(?1))", Order::COLUMNS);
                let rows = pool.fetch(query, [ids]).await?;
                Ok(rows.into_iter().map(|row| (row.id, row.loaded())))
            }
        });
        Ok(Self { pool, rows })
    }

    async fn find(&self, id: i64) -> Result<Option<Arc<Order>>, Error> {
        Ok(self.rows.load(&id).await?)
    }

    async fn find_all(&self, ids: &[i64]) -> Result<Vec<Arc<Order>>, Error> {
        let rows = self.rows.load_many(ids).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// The new row is here when this returns, and no other instance has the old one.
    async fn change(&self, id: i64, text: &str) -> Result<(), Error> {
        let (pool, text) = (self.pool.clone(), text.to_owned());
        let write = move || async move {
            let query = "UPDATE orders SET text = ?2 WHERE id = ?1 RETURNING id, customer, text";
            let row = pool.fetch(query.to_owned(), (id, text)).await?.pop();
            Ok::<_, String>(row.map_or_else(Loaded::absent, Order::loaded))
        };
        println!("  {}", self.rows.put(&id, write).await?.await?);
        Ok(())
    }

    /// One statement that changes many rows.
    async fn cancel_all_of(&self, customer: i64) -> Result<(), Error> {
        let query =
            "UPDATE orders SET text = 'cancelled' WHERE customer = ?1 RETURNING id, customer, text";
        let rows = self.pool.fetch(query.to_owned(), [customer]).await?;
        let outcome = self.rows.flush_tag(&format!("customer {customer}")).await?;
        println!("  {} rows; {outcome}", rows.len());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addresses = ["127.0.0.1:7411", "127.0.0.1:7412"];
    let pool = Pool::filled()?;
    let mut instances = Vec::new();
    for address in addresses {
        let node = Node::builder("shop").name(format!("instance at {address}"));
        let node = node.listen(address.parse()?).discovery(Fixed::new(addresses)).start().await?;
        instances.push((Orders::new(pool.clone(), &node)?, node));
    }
    let [(one, first), (other, second)] = &instances[..] else { unreachable!("two were started") };
    for node in [first, second] {
        node.peers_until(|peers| peers.iter().all(flushcast::Peer::is_linked)).await;
    }

    println!("one instance reads three rows, with one query:");
    let show_all = async || {
        for order in one.find_all(&[1, 2, 3]).await? {
            println!("  {}", order.shown());
        }
        Ok::<_, Error>(())
    };
    show_all().await?;
    println!("the other reads one, and one that is not there:");
    let show = async |id| {
        let found = other.find(id).await?;
        println!("  {}", found.map_or_else(|| "no such order".to_owned(), |it| it.shown()));
        Ok::<_, Error>(())
    };
    show(1).await?;
    show(99).await?;
    println!("the first changes it:");
    one.change(1, "two chairs").await?;
    println!("the other reads it again:");
    show(1).await?;
    println!("the other cancels all of a customer, whose rows the first has:");
    other.cancel_all_of(7).await?;
    println!("the first reads them again, with one query:");
    show_all().await?;
    let stats = one.rows.stats();
    println!("{} hits, {} misses, {} loads", stats.hits, stats.misses, stats.loads);
    for (_, node) in instances {
        node.shutdown().await?;
    }
    Ok(())
}

/// In place of a pool of connections to your database server.
#[derive(Clone)]
struct Pool(Arc<Mutex<Connection>>);

impl Pool {
    fn filled() -> Result<Self, Error> {
        let database = Connection::open_in_memory()?;
        database.execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, text TEXT);
             INSERT INTO orders VALUES (1, 7, 'a chair'), (2, 7, 'a table'), (3, 8, 'a lamp');",
        )?;
        Ok(Self(Arc::new(Mutex::new(database))))
    }

    async fn fetch<P: Params + Send + 'static>(
        &self,
        query: String,
        parameters: P,
    ) -> Result<Vec<Order>, String> {
        println!("  {query}");
        let database = Arc::clone(&self.0);
        let fetched = tokio::task::spawn_blocking(move || {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            let mut statement = database.prepare(&query)?;
            statement.query_map(parameters, Order::from_row)?.collect()
        });
        let rows: rusqlite::Result<_> = fetched.await.map_err(|error| error.to_string())?;
        rows.map_err(|error| error.to_string())
    }
}
