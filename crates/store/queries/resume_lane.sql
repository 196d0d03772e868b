-- Tries what a locked lane stopped at again, with all its attempts: the head that blocks it, and what was set aside.
WITH freed AS (
    UPDATE lanes SET blocked_at = NULL, updated_at = now() WHERE id = $1 AND blocked_at IS NOT NULL RETURNING head
),
due AS (
    UPDATE schedule s
    SET due_at = now()
    WHERE s.lane_id = $1
        AND (s.is_aside OR s.delivery_id IN (SELECT head FROM freed))
        AND s.due_at = 'infinity' AND s.claimed_by IS NULL
    RETURNING s.project_id, s.delivery_id
)
UPDATE deliveries d
SET state = 'Scheduled', attempt_count = 0, throttled_count = 0
FROM due
WHERE d.project_id = due.project_id AND d.id = due.delivery_id AND d.finished_at IS NULL
