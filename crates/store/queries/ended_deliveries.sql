-- Of these deliveries those that this very transaction ended: an outcome that was refused is followed by nothing. With
-- what a notice of it says, and whether the endpoint has had no success since the delivery's first attempt.
SELECT
    d.id,
    d.subscription_id,
    e.event_type AS "event_type?",
    e.received_at AS "received_at?",
    COALESCE(
        f.failing_since <= (
            SELECT min(a.started_at + a.duration_us * interval '1 microsecond')
            FROM attempts a
            WHERE a.project_id = d.project_id AND a.delivery_id = d.id
        ),
        false
    ) AS "is_sustained!"
FROM unnest($1::uuid[], $2::uuid[]) AS i (project_id, delivery_id)
JOIN deliveries d ON d.project_id = i.project_id AND d.id = i.delivery_id AND d.id BETWEEN $3 AND $4
LEFT JOIN events e ON e.project_id = d.project_id AND e.id = d.event_id
LEFT JOIN failing_endpoints f ON f.endpoint_id = d.endpoint_id
-- The row as this transaction left it: what is given up in order is not finished, but blocks its lane or is set aside.
WHERE d.xmin = pg_current_xact_id()::xid
