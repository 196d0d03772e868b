-- What the consumers of one process say now. Rows of consumers it no longer has go, and so do those of processes
-- that nobody buried.
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::double precision[], $11::bigint[], $12::bigint[], $13::double precision[], $14::bigint[], $15::bigint[],
        $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[]
    ) AS t (
        project_id, source_id, worker, kind, name, state, problem, warnings, progress_seconds, lag, in_flight,
        oldest_seconds, received, stored, duplicate, redelivered, quarantined, returned, reconnects
    )
),
gone AS (
    DELETE FROM source_status s
    WHERE CASE
        WHEN s.process_id = $1
            THEN NOT EXISTS (SELECT FROM input i WHERE i.source_id = s.source_id AND i.worker = s.worker)
        ELSE s.updated_at < now() - interval '10 minutes'
    END
)
INSERT INTO source_status (
    project_id, source_id, process_id, worker, kind, name, state, problem, warnings, last_progress_at, lag, in_flight,
    oldest_in_flight_at, received, stored, duplicate, redelivered, quarantined, returned, reconnects, failing_since
)
SELECT
    project_id, source_id, $1, worker, kind, name, state, problem, warnings::json,
    now() - make_interval(secs => progress_seconds), lag, in_flight, now() - make_interval(secs => oldest_seconds),
    received, stored, duplicate, redelivered, quarantined, returned, reconnects,
    CASE WHEN state = 'failing' THEN now() END
FROM input
ORDER BY source_id, worker
ON CONFLICT (source_id, process_id, worker) DO UPDATE SET
    project_id = excluded.project_id, kind = excluded.kind, name = excluded.name, state = excluded.state,
    problem = excluded.problem, warnings = excluded.warnings, last_progress_at = excluded.last_progress_at,
    lag = excluded.lag, in_flight = excluded.in_flight, oldest_in_flight_at = excluded.oldest_in_flight_at,
    received = excluded.received, stored = excluded.stored, duplicate = excluded.duplicate,
    redelivered = excluded.redelivered, quarantined = excluded.quarantined, returned = excluded.returned,
    reconnects = excluded.reconnects, updated_at = now(),
    -- Who connects again has not recovered yet.
    failing_since = CASE
        WHEN excluded.state = 'failing' THEN COALESCE(source_status.failing_since, now())
        WHEN excluded.state = 'connecting' THEN source_status.failing_since
    END
