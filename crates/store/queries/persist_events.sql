-- One statement, one round trip, one commit for a whole batch. Every CTE sees the same snapshot; order between
-- them is made by reading what the earlier one RETURNs.
WITH me AS (
    -- While this lock is held nobody can declare this process dead and search for its claims.
    SELECT id FROM processes WHERE id = $1 FOR KEY SHARE
),
input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::bytea[], $12::timestamptz[], $13::uuid[], $14::boolean[], $15::boolean[],
        -- These are empty when no event has one: the function fills up with NULL.
        $16::text[], $17::timestamptz[], $18::text[], $19::text[], $31::text[]
    ) AS t (
        project_id, id, source_id, kind, endpoint_id, owner_id, event_type, idempotency_key,
        headers, body, received_at, digest, is_named, is_redelivered,
        ordering_key, occurred_at, content_type, attributes, url_query
    )
),
marks AS (
    INSERT INTO message_identities (seen_on, digest, event_id)
    SELECT (now() AT TIME ZONE 'utc')::date, i.digest, i.id
    FROM input i
    WHERE i.digest IS NOT NULL
        -- The primary key finds a message of today; only a redelivered one can be of an earlier day.
        AND NOT (i.is_redelivered AND EXISTS (
            -- OFFSET keeps it a look-up by key: else the planner may read every identity of eight days into a hash.
            SELECT FROM message_identities m WHERE m.digest = i.digest OFFSET 0
        ))
    -- Of two copies in one batch the first delivery counts.
    ORDER BY i.digest, i.is_redelivered, i.id
    ON CONFLICT DO NOTHING
    RETURNING event_id
),
accepted AS MATERIALIZED (
    SELECT i.*
    FROM input i
    WHERE i.digest IS NULL
        -- The same bytes twice are two messages unless the broker says it is the same one again.
        OR NOT (i.is_named OR i.is_redelivered)
        OR i.id IN (SELECT event_id FROM marks)
),
keys AS (
    INSERT INTO idempotency_keys (project_id, key, event_id)
    SELECT a.project_id, a.idempotency_key, a.id
    FROM accepted a
    WHERE a.idempotency_key IS NOT NULL
    ORDER BY a.project_id, a.idempotency_key, a.id
    ON CONFLICT DO NOTHING
    RETURNING event_id
),
fresh AS (
    INSERT INTO events (
        project_id, id, source_id, kind, endpoint_id, owner_id, event_type, idempotency_key, is_duplicate,
        headers, body, received_at, ordering_key, occurred_at, content_type, attributes, url_query
    )
    SELECT
        a.project_id, a.id, a.source_id, a.kind, a.endpoint_id, a.owner_id, a.event_type, a.idempotency_key,
        a.idempotency_key IS NOT NULL AND a.id NOT IN (SELECT event_id FROM keys),
        a.headers::json, a.body, a.received_at, a.ordering_key, a.occurred_at, a.content_type, a.attributes::json,
        a.url_query
    FROM accepted a
    ON CONFLICT DO NOTHING
    RETURNING project_id, id, is_duplicate
),
made AS (
    INSERT INTO deliveries (project_id, id, event_id, endpoint_id, subscription_id, claimed_by, state)
    SELECT
        d.project_id, d.id, d.event_id, d.endpoint_id, d.subscription_id,
        CASE WHEN d.hand_over THEN (SELECT id FROM me) END,
        CASE WHEN d.hand_over AND EXISTS (SELECT FROM me) THEN 'Processing' ELSE 'Scheduled' END
    FROM unnest($20::uuid[], $21::uuid[], $22::uuid[], $23::uuid[], $24::uuid[], $25::boolean[])
        AS d (project_id, event_id, id, endpoint_id, subscription_id, hand_over)
    JOIN fresh f ON f.id = d.event_id AND f.project_id = d.project_id
    WHERE NOT f.is_duplicate
    RETURNING project_id, id, event_id, endpoint_id, claimed_by
),
waiting AS (
    INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
    SELECT id, project_id, endpoint_id, event_id, now()
    FROM made
    -- Those that wait in a lane enter it afterwards (enter_lanes.sql).
    WHERE claimed_by IS NULL AND id <> ALL ($30::uuid[])
),
raised AS (
    -- How far the logs are stored now. Nothing reads it, so it runs last: whoever waits for a log's row here holds
    -- every other lock already.
    INSERT INTO source_offsets AS o (source_id, log, next_offset, received_at)
    SELECT source_id, log, next_offset, received_at
    FROM unnest($26::uuid[], $27::text[], $28::bigint[], $29::timestamptz[])
        AS t (source_id, log, next_offset, received_at)
    ORDER BY source_id, log
    ON CONFLICT (source_id, log) DO UPDATE
        SET next_offset = excluded.next_offset, received_at = excluded.received_at
        WHERE (o.next_offset IS NULL OR o.next_offset < excluded.next_offset)
            -- A batch that was read before its log was forgotten may be of an older log of that name.
            AND o.since <= excluded.received_at
)
SELECT
    f.id AS "id!",
    f.is_duplicate AS "is_duplicate!",
    EXISTS (SELECT FROM me) AS "is_claimed!"
FROM fresh f
