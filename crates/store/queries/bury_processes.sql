-- Processes whose lease has ended. One inside a transaction that stores claims is locked (persist_events.sql) and
-- left for the next look.
DELETE FROM processes
WHERE id IN (
    SELECT id FROM processes WHERE lease_until < now() AND id <> $1 ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING id, oldest
