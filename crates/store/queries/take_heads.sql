-- Claims deliveries whose rows in the schedule were claimed in this transaction.
WITH claimed AS (
    UPDATE deliveries d
    SET state = 'Processing', claimed_by = t.owner
    FROM unnest($1::uuid[], $2::uuid[]) AS t (delivery_id, owner)
    JOIN schedule s ON s.delivery_id = t.delivery_id
    WHERE d.project_id = s.project_id AND d.id = s.delivery_id AND d.finished_at IS NULL
    RETURNING
        d.project_id, d.id, d.event_id, d.endpoint_id, d.subscription_id, d.attempt_count, d.throttled_count, d.claimed_by,
        s.lane_id, s.lane_sequence
)
SELECT
    c.id AS "id!",
    c.endpoint_id AS "endpoint_id!",
    c.subscription_id,
    c.attempt_count AS "attempt_count!",
    c.throttled_count AS "throttled_count!",
    c.lane_id,
    c.lane_sequence,
    c.claimed_by AS "owner!",
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
