-- Figures of a project from $2 to before $3, by $4, in hours or ($5) days; of the $6 groups with the most.
WITH found AS (
    SELECT s.*, CASE $4::text WHEN 'endpoint' THEN s.endpoint_id::text WHEN 'event_type' THEN s.event_type ELSE '' END AS series
    FROM stats_hourly s
    WHERE s.project_id = $1 AND s.hour >= $2 AND s.hour < $3
        -- Events have no endpoint.
        AND ($4 <> 'endpoint' OR s.endpoint_id <> '00000000-0000-0000-0000-000000000000')
),
largest AS (
    SELECT series, sum(events + scheduled + processing + retry + success + failure + discarded) AS size
    FROM found GROUP BY series ORDER BY size DESC, series LIMIT $6
)
SELECT f.series AS "series!",
    CASE WHEN $5::boolean THEN date_trunc('day', f.hour, 'UTC') ELSE f.hour END AS "start!",
    sum(f.events)::bigint AS "events!", sum(f.scheduled)::bigint AS "scheduled!",
    sum(f.processing)::bigint AS "processing!", sum(f.retry)::bigint AS "retry!", sum(f.success)::bigint AS "success!",
    sum(f.failure)::bigint AS "failure!", sum(f.discarded)::bigint AS "discarded!", sum(f.attempts)::bigint AS "attempts!"
FROM found f JOIN largest l ON l.series = f.series
GROUP BY l.size, f.series, 2
ORDER BY l.size DESC, f.series, 2
