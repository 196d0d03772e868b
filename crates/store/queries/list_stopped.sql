-- Deliveries in order that wait for somebody to decide: heads that block their lane, and those that were set aside.
WITH stopped AS (
    SELECT l.head AS delivery_id, l.id AS lane_id, l.blocked_at
    FROM lanes l
    WHERE l.blocked_at IS NOT NULL
    UNION ALL
    SELECT s.delivery_id, s.lane_id, NULL
    FROM schedule s
    WHERE s.is_aside AND s.due_at = 'infinity' AND s.claimed_by IS NULL
)
SELECT
    stopped.lane_id AS "lane_id!",
    s.delivery_id AS "delivery_id!",
    s.project_id AS "project_id!",
    s.endpoint_id AS "endpoint_id!",
    e.name AS "endpoint_name?",
    d.attempt_count AS "attempt_count!",
    stopped.blocked_at,
    s.lane_sequence AS "sequence!",
    (
        SELECT count(*)
        FROM schedule w
        WHERE w.lane_id = stopped.lane_id AND NOT w.is_aside AND w.delivery_id <> s.delivery_id
    ) AS "waiting!"
FROM stopped
JOIN schedule s ON s.delivery_id = stopped.delivery_id
JOIN deliveries d ON d.project_id = s.project_id AND d.id = s.delivery_id
LEFT JOIN endpoints e ON e.id = s.endpoint_id
WHERE $1::uuid IS NULL OR s.project_id = $1
ORDER BY stopped.blocked_at DESC NULLS LAST, stopped.lane_id, s.lane_sequence
LIMIT $2
