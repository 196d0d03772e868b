-- Locks processes whose lease has ended. One that is inside a transaction that stores claims is locked by that
-- (persist_events.sql) and left for the next look. Its own statement: only a snapshot taken after the lock shows
-- everything that the process stored.
SELECT id FROM processes WHERE lease_until < now() AND id <> $1 ORDER BY id FOR UPDATE SKIP LOCKED
