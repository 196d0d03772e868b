-- The heads of lanes that these outcomes left and that the recorder holds: asked when some outcomes are on record
-- already, because then the reply that told of those heads may be lost.
SELECT
    d.id AS "id!",
    d.endpoint_id AS "endpoint_id!",
    d.subscription_id,
    d.attempt_count AS "attempt_count!",
    d.throttled_count AS "throttled_count!",
    s.lane_id,
    s.lane_sequence,
    d.claimed_by AS "owner!",
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
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS i (lane_id, delivery_id, owner)
JOIN lanes l ON l.id = i.lane_id AND l.head <> i.delivery_id
JOIN schedule s ON s.delivery_id = l.head AND s.claimed_by = i.owner
JOIN deliveries d ON d.project_id = s.project_id AND d.id = s.delivery_id AND d.claimed_by = i.owner
CROSS JOIN LATERAL (
    SELECT * FROM events WHERE project_id = s.project_id AND id = s.event_id OFFSET 0
) e
