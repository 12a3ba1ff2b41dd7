//! Owns triggers that flush for changes made by hand, by a migration, or by another program.

use std::fmt::Write as _;

use flushcast_core::wire::{MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_SCOPES};

/// Which changes of a table flush what.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The table, with its schema if it is not on the path: `shop.titles`. Upper and lower case as in the
    /// catalogue.
    pub table: &'a str,
    /// The cache that has copies of its rows.
    pub cache: &'a str,
    /// The columns that make the key, in the order of its parts. With none, each change flushes the whole
    /// cache.
    pub key: &'a [&'a str],
}

/// A name that PostgreSQL or a cache cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no {wanted}")]
pub struct BadName {
    name: String,
    wanted: &'static str,
}

/// The SQL that makes the triggers of a table, or replaces them: one statement flushes the rows that it has
/// inserted, changed or deleted, by the old key and the new one. More than 32 keys become the whole cache, and
/// so do a row without a key and `TRUNCATE`. Read it before you run it. Run it as the table's owner, who needs
/// the right to write to the log; whoever changes the table later does not.
///
/// Key columns are written as PostgreSQL casts them to text. For integers, text and `uuid` that is what a `Key` of
/// that type writes. Leave the key out for other types, a timestamp for instance: their text names no copy, so
/// that nothing would be flushed.
///
/// # Errors
/// A name that is none.
pub fn triggers(watch: &Watch<'_>) -> Result<String, BadName> {
    let table: Vec<String> = watch.table.split('.').map(identifier).collect::<Result<_, _>>()?;
    if watch.cache.is_empty() || watch.cache.len() > MAX_NAME_BYTES || is_unquotable(watch.cache) {
        return Err(BadName { name: watch.cache.to_owned(), wanted: "name of a cache" });
    }
    if table.len() > 2 {
        return Err(BadName { name: watch.table.to_owned(), wanted: "table, or schema.table" });
    }
    let cache = literal(watch.cache);
    let columns: Vec<String> =
        watch.key.iter().map(|it| identifier(it)).collect::<Result<_, _>>()?;
    let key = match columns.as_slice() {
        [] => None,
        [one] => Some(format!("{one}::text")),
        many => {
            let parts: Vec<String> = many.iter().map(|it| format!("{it}::text")).collect();
            Some(format!("flushcast.key({})", parts.join(", ")))
        }
    };
    let name = format!("{}:{}", watch.cache, watch.table);
    let (table, mut sql) = (table.join("."), String::new());
    // A name of PostgreSQL's is cut at 63 bytes, and two might become one.
    let name = format!("{:016x}", fnv(name.as_bytes()));
    let events = [
        ("insert", "NEW TABLE AS new_rows", &["new_rows"][..]),
        ("update", "OLD TABLE AS old_rows NEW TABLE AS new_rows", &["old_rows", "new_rows"]),
        ("delete", "OLD TABLE AS old_rows", &["old_rows"]),
        ("truncate", "", &[]),
    ];
    for (event, referencing, rows) in events {
        let function = format!("flushcast.\"{event} {name}\"");
        let all = format!("PERFORM flushcast.flush_all({cache});");
        let body = match &key {
            Some(key) if !rows.is_empty() => {
                let keys: Vec<String> =
                    rows.iter().map(|rows| format!("SELECT {key} AS key FROM {rows}")).collect();
                let keys = format!("({}) AS changed", keys.join(" UNION "));
                let many = MAX_SCOPES + 1;
                // What has no key, or too long a one, must not make the app's own statement fail.
                format!(
                    "IF (SELECT count(*) > {MAX_SCOPES} \
                     OR bool_or(key IS NULL OR octet_length(key) > {MAX_KEY_BYTES})\n    \
                     FROM (SELECT key FROM {keys} LIMIT {many}) AS few)\n  THEN {all}\n  \
                     ELSE PERFORM flushcast.flush({cache}, key) FROM {keys};\n  END IF;"
                )
            }
            // A statement that changes nothing flushes nothing.
            _ if !rows.is_empty() => {
                let any: Vec<String> =
                    rows.iter().map(|rows| format!("EXISTS (SELECT FROM {rows})")).collect();
                format!("IF {} THEN {all} END IF;", any.join(" OR "))
            }
            _ => all,
        };
        let referencing =
            if rows.is_empty() { String::new() } else { format!(" REFERENCING {referencing}") };
        // Writing to a String does not fail.
        let _ = write!(
            sql,
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql\n\
             SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $flushcast$\n\
             BEGIN\n  {body}\n  RETURN NULL;\nEND $flushcast$;\n\
             REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;\n\
             DROP TRIGGER IF EXISTS \"flushcast {event} {name}\" ON {table};\n\
             CREATE TRIGGER \"flushcast {event} {name}\" AFTER {} ON {table}{referencing}\n\
             FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n",
            event.to_uppercase()
        );
    }
    Ok(sql)
}

/// Quoted, so that it is taken as it stands.
fn identifier(name: &str) -> Result<String, BadName> {
    let name = name.trim_matches('"');
    if name.is_empty() || name.len() > 63 || name.contains('"') || is_unquotable(name) {
        return Err(BadName {
            name: name.to_owned(),
            wanted: "name in PostgreSQL, of 1 to 63 bytes",
        });
    }
    Ok(format!("\"{name}\""))
}

/// What ends a text, or a function's body, wherever it stands.
fn is_unquotable(name: &str) -> bool {
    name.contains('\0') || name.contains("$flushcast$")
}

fn literal(text: &str) -> String {
    // With a backslash in it, what stands between plain quotes depends on a setting.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// FNV-1a, by Fowler, Noll and Vo: the same in each release, which `std`'s hasher is not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
