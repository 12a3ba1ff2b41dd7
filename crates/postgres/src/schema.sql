-- What Flushcast keeps in a database: the log of flushes, and who follows it.
-- Safe to run again. Everything is in the schema of its own, "flushcast".

CREATE SCHEMA IF NOT EXISTS flushcast;

-- One row. "epoch" says which log this is: a database that is copied or restored gets a new one by
-- SELECT flushcast.begin_anew(). "overlap" is for how long a primary that was replaced may go on answering:
-- zero where there is one server, or the old one is fenced; null where nobody can tell, and then only eventual
-- caches can be had. "cleaned" is the last transaction whose rows are deleted.
CREATE TABLE IF NOT EXISTS flushcast.log (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch uuid NOT NULL DEFAULT gen_random_uuid(),
    overlap interval DEFAULT '0' CHECK (overlap >= '0'),
    cleaned xid8 NOT NULL DEFAULT '0'
);
INSERT INTO flushcast.log DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Which log, in which database of which run of which server, with which rules: nothing counts that was said of
-- another one. A copy by CREATE DATABASE ... TEMPLATE has the same "epoch", and another oid. None on a standby,
-- which follows another server.
CREATE OR REPLACE FUNCTION flushcast.epoch() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT md5(concat_ws('/', epoch, coalesce(extract(epoch FROM overlap)::text, 'unknown'),
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        left(pg_walfile_name(pg_current_wal_lsn()), 8),
        extract(epoch FROM pg_postmaster_start_time())))::uuid
    FROM flushcast.log WHERE NOT pg_is_in_recovery()
$$;

-- Who follows, one row for each run of a node: its position, in the epoch that it is of. "version" moves
-- with each write, so that who finds an old row removes that one and no younger.
CREATE TABLE IF NOT EXISTS flushcast.members (
    life uuid PRIMARY KEY,
    name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 128),
    epoch uuid NOT NULL,
    applied pg_snapshot NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A row says which copies of a cache are out of date once its transaction commits. An empty cache stands
-- for every cache. Rows are written in the transaction of the change, and never changed.
CREATE TABLE IF NOT EXISTS flushcast.flushes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cache text NOT NULL CHECK (octet_length(cache) <= 128),
    kind text NOT NULL CHECK (kind IN ('key', 'tag', 'prefix', 'all')),
    expires boolean NOT NULL DEFAULT false,
    scope text NOT NULL DEFAULT ''
        CHECK (octet_length(scope) <= CASE kind WHEN 'tag' THEN 256 ELSE 1024 END),
    -- Of a node's own flush: which run of it, and its number there. Nobody's, if an app's transaction or a
    -- trigger has written the row.
    author uuid,
    number bigint CHECK (number > 0),
    PRIMARY KEY (xid, id),
    CHECK ((author IS NULL) = (number IS NULL)),
    CHECK (kind <> 'all' OR scope = '')
);

CREATE OR REPLACE FUNCTION flushcast.flush(cache text, key text) RETURNS void LANGUAGE sql AS
$$ INSERT INTO flushcast.flushes (cache, kind, scope) VALUES ($1, 'key', $2) $$;

CREATE OR REPLACE FUNCTION flushcast.flush_tag(cache text, tag text) RETURNS void LANGUAGE sql AS
$$ INSERT INTO flushcast.flushes (cache, kind, scope) VALUES ($1, 'tag', $2) $$;

CREATE OR REPLACE FUNCTION flushcast.flush_all(cache text) RETURNS void LANGUAGE sql AS
$$ INSERT INTO flushcast.flushes (cache, kind) VALUES ($1, 'all') $$;

CREATE OR REPLACE FUNCTION flushcast.begin_anew() RETURNS void LANGUAGE sql AS
$$ UPDATE flushcast.log SET epoch = gen_random_uuid() $$;

-- A key of several parts as text: ('eu', '7') is eu/7. None if a part is none.
CREATE OR REPLACE FUNCTION flushcast.key(VARIADIC parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN array_position(parts, NULL) IS NULL THEN string_agg(replace(replace(part, '%', '%25'), '/', '%2F'), '/' ORDER BY place) END
   FROM unnest(parts) WITH ORDINALITY AS it (part, place) $$;
