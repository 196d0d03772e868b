-- Takes given up deliveries out of their lanes, which are locked, or marks the lane as blocked by them.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) AS t (lane_id, delivery_id, is_blocking)
),
aside AS (
    UPDATE schedule s
    SET is_aside = true
    FROM input i
    WHERE NOT i.is_blocking AND s.delivery_id = i.delivery_id
        -- Only if it was this outcome that counted.
        AND s.due_at = 'infinity' AND s.claimed_by IS NULL
)
UPDATE lanes l
SET blocked_at = now(), updated_at = now()
FROM input i
JOIN schedule s ON s.delivery_id = i.delivery_id AND s.due_at = 'infinity' AND s.claimed_by IS NULL
WHERE i.is_blocking AND l.id = i.lane_id AND l.head = i.delivery_id
