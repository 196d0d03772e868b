-- Takes meta events project by project, so that one whose receiver hangs is in nobody's way.
WITH due AS MATERIALIZED (
    SELECT picked.project_id, picked.id
    FROM projects p
    CROSS JOIN LATERAL (
        SELECT m.project_id, m.id
        FROM meta_events m
        WHERE m.project_id = p.id AND m.next_attempt_at <= now()
        ORDER BY m.next_attempt_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) picked
    WHERE p.id <> ALL ($3::uuid[])
    LIMIT $1
)
UPDATE meta_events m
SET state = 'Processing', attempt_count = m.attempt_count + 1, attempted_at = now(),
    next_attempt_at = now() + make_interval(secs => $4)
FROM due
WHERE m.project_id = due.project_id AND m.id = due.id
RETURNING m.project_id, m.id, m.event_type, m.data::text AS "data!", m.attempt_count, m.throttled_count,
    COALESCE(m.resent_at, m.created_at) AS "since!"
