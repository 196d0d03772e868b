-- Gives lanes whose head has left their next one, which is due from now on or claimed at once. The lanes are locked and
-- this snapshot is younger than the lock: nobody puts in what this does not see.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS t (lane_id, owner)
),
left_behind AS MATERIALIZED (
    SELECT l.id, i.owner, next.delivery_id, next.endpoint_id
    FROM input i
    JOIN lanes l ON l.id = i.lane_id
    LEFT JOIN LATERAL (
        SELECT s.delivery_id, s.endpoint_id
        FROM schedule s
        WHERE s.lane_id = l.id AND NOT s.is_aside
        ORDER BY s.lane_sequence
        LIMIT 1
    ) next ON true
    WHERE l.head IS NOT NULL
        AND NOT EXISTS (SELECT FROM schedule s WHERE s.delivery_id = l.head AND s.lane_id = l.id AND NOT s.is_aside)
),
turned AS (
    UPDATE lanes l
    SET head = b.delivery_id, blocked_at = NULL, updated_at = now()
    FROM left_behind b
    WHERE l.id = b.id
),
due AS (
    UPDATE schedule s
    SET
        due_at = CASE WHEN b.is_claimed THEN now() + make_interval(secs => $3::float8) ELSE now() END,
        claimed_by = CASE WHEN b.is_claimed THEN b.owner END
    FROM (
        SELECT
            *,
            -- Nobody jumps the queue: when others of the endpoint are due already, it goes behind them.
            $3::float8 > 0
                AND EXISTS (SELECT FROM processes p WHERE p.id = owner)
                AND NOT EXISTS (
                    SELECT FROM schedule o WHERE o.endpoint_id = left_behind.endpoint_id AND o.due_at <= now()
                ) AS is_claimed
        FROM left_behind
    ) b
    WHERE s.delivery_id = b.delivery_id
    RETURNING s.delivery_id, s.claimed_by
)
SELECT delivery_id AS "delivery_id!", claimed_by FROM due
