-- Takes due deliveries endpoint by endpoint: the index on (endpoint_id, due_at) makes each look-up independent of
-- every other endpoint's backlog, and SKIP LOCKED keeps claimers out of each other's way.
WITH due AS MATERIALIZED (
    SELECT picked.delivery_id
    FROM unnest($1::uuid[], $2::integer[]) AS d (endpoint_id, room)
    CROSS JOIN LATERAL (
        SELECT s.delivery_id
        FROM schedule s
        WHERE s.endpoint_id = d.endpoint_id AND s.due_at <= now()
        ORDER BY s.due_at
        LIMIT d.room
        FOR UPDATE SKIP LOCKED
    ) picked
),
taken AS (
    UPDATE schedule s
    SET due_at = now() + make_interval(secs => $3), claimed_by = $4
    FROM due
    WHERE s.delivery_id = due.delivery_id
    RETURNING s.delivery_id, s.project_id, s.event_id, s.lane_id, s.lane_sequence
),
claimed AS (
    UPDATE deliveries d
    SET state = 'Processing', claimed_by = $4
    FROM taken t
    WHERE d.project_id = t.project_id AND d.id = t.delivery_id AND d.finished_at IS NULL
    RETURNING
        d.project_id, d.id, d.event_id, d.endpoint_id, d.subscription_id, d.attempt_count, d.throttled_count,
        t.lane_id, t.lane_sequence
)
SELECT
    c.id AS "id!",
    c.endpoint_id AS "endpoint_id!",
    c.subscription_id,
    c.attempt_count AS "attempt_count!",
    c.throttled_count AS "throttled_count!",
    c.lane_id,
    c.lane_sequence,
    $4::uuid AS "owner!",
    e.project_id AS "project_id!",
    e.id AS "event_id!",
    e.source_id,
    e.kind AS "kind!",
    e.endpoint_id AS event_endpoint_id,
    e.owner_id,
    e.event_type AS "event_type!",
    e.idempotency_key,
    e.headers::text AS "headers!",
    e.body AS "body!",
    e.received_at AS "received_at!",
    e.ordering_key,
    e.occurred_at,
    e.content_type,
    e.attributes::text,
    e.url_query
FROM claimed c
CROSS JOIN LATERAL (
    -- OFFSET keeps it a look-up by key in each partition, also in a plan made while tomorrow's was still empty.
    SELECT * FROM events WHERE project_id = c.project_id AND id = c.event_id OFFSET 0
) e
