-- Counts an hour, whose ids are from $2 to before $3; project by project, so that each follows its keys.
WITH seen AS (
    SELECT p.id AS project_id, e.event_type, e.events
    FROM projects p
    CROSS JOIN LATERAL (
        SELECT event_type, count(*) AS events FROM events
        WHERE project_id = p.id AND id >= $2 AND id < $3 GROUP BY event_type
    ) e
    WHERE p.id <> ALL ($4::uuid[])
),
made AS (
    SELECT p.id AS project_id, d.*
    FROM projects p
    CROSS JOIN LATERAL (
        SELECT m.endpoint_id, COALESCE(e.event_type, '') AS event_type,
            count(*) FILTER (WHERE m.state = 'Scheduled') AS scheduled,
            count(*) FILTER (WHERE m.state = 'Processing') AS processing,
            count(*) FILTER (WHERE m.state = 'Retry') AS retry,
            count(*) FILTER (WHERE m.state = 'Success') AS success,
            count(*) FILTER (WHERE m.state = 'Failure') AS failure,
            count(*) FILTER (WHERE m.state = 'Discarded') AS discarded,
            sum(m.attempt_count) AS attempts
        FROM deliveries m LEFT JOIN events e ON e.project_id = p.id AND e.id = m.event_id
        WHERE m.project_id = p.id AND m.id >= $2 AND m.id < $3
        GROUP BY m.endpoint_id, COALESCE(e.event_type, '')
    ) d
    WHERE p.id <> ALL ($4::uuid[])
),
written AS (
    INSERT INTO stats_hourly (project_id, hour, endpoint_id, event_type, events, scheduled, processing, retry, success,
        failure, discarded, attempts)
    SELECT project_id, $1::timestamptz, '00000000-0000-0000-0000-000000000000', event_type, events, 0, 0, 0, 0, 0, 0, 0 FROM seen
    UNION ALL
    SELECT project_id, $1::timestamptz, endpoint_id, event_type, 0, scheduled, processing, retry, success, failure, discarded, attempts
    FROM made
)
INSERT INTO stats_hours (hour, rolled_at, is_open)
VALUES ($1, $5, EXISTS (SELECT FROM made WHERE scheduled + processing + retry > 0))
ON CONFLICT (hour) DO UPDATE SET rolled_at = excluded.rolled_at, is_open = excluded.is_open
