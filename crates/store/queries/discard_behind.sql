-- What waits behind deliveries that were discarded because their endpoint is switched off or gone goes the same way: not
-- one by one. The lanes are locked. The deliveries follow in a statement of their own (finish_behind.sql): joined with what
-- may be thousands of rows, the planner would walk the whole day.
WITH gone AS (
    SELECT l.id
    FROM unnest($1::uuid[], $2::uuid[]) AS i (lane_id, delivery_id)
    JOIN lanes l ON l.id = i.lane_id AND l.head = i.delivery_id
    WHERE NOT EXISTS (SELECT FROM schedule s WHERE s.delivery_id = l.head)
)
DELETE FROM schedule s
USING gone
CROSS JOIN LATERAL (
    SELECT w.delivery_id
    FROM schedule w
    WHERE w.lane_id = gone.id AND NOT w.is_aside
    ORDER BY w.lane_sequence
    LIMIT 1000
) waiting
WHERE s.delivery_id = waiting.delivery_id AND s.due_at = 'infinity' AND s.claimed_by IS NULL
RETURNING s.project_id, s.delivery_id
