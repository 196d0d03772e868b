-- Ends what locked lanes stopped at: the heads that block them and, when $3, what was set aside. The lanes are advanced
-- afterwards.
WITH gone AS (
    DELETE FROM schedule s
    USING lanes l
    WHERE l.id = ANY ($1) AND l.blocked_at IS NOT NULL AND s.delivery_id = l.head
        AND s.due_at = 'infinity' AND s.claimed_by IS NULL
    RETURNING s.project_id, s.delivery_id
),
aside AS (
    DELETE FROM schedule s
    WHERE $3 AND s.lane_id = ANY ($1) AND s.is_aside AND s.due_at = 'infinity' AND s.claimed_by IS NULL
    RETURNING s.project_id, s.delivery_id
)
UPDATE deliveries d
SET state = $2, finished_at = now()
FROM (SELECT * FROM gone UNION ALL SELECT * FROM aside) AS ended
WHERE d.project_id = ended.project_id AND d.id = ended.delivery_id AND d.finished_at IS NULL
