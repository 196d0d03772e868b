-- Takes over what dead processes left behind. Their rows are locked already (find_dead_processes.sql).
WITH dead AS (
    DELETE FROM processes WHERE id = ANY ($1) RETURNING id, oldest
),
silent AS (
    DELETE FROM source_status WHERE process_id = ANY ($1)
),
freed AS (
    -- What it held in memory, fresh from ingest.
    UPDATE deliveries d
    SET state = CASE WHEN d.attempt_count = 0 THEN 'Scheduled' ELSE 'Retry' END, claimed_by = NULL
    FROM dead
    WHERE d.id >= dead.oldest AND d.state = 'Processing' AND d.claimed_by = dead.id
    RETURNING d.id, d.project_id, d.endpoint_id, d.event_id
),
queued AS (
    INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
    SELECT id, project_id, endpoint_id, event_id, now() FROM freed
    ON CONFLICT (delivery_id) DO UPDATE SET due_at = now(), claimed_by = NULL
    RETURNING delivery_id
),
handed_back AS (
    -- What it had claimed from the schedule.
    UPDATE schedule s
    SET due_at = now(), claimed_by = NULL
    FROM dead
    WHERE s.claimed_by = dead.id AND s.delivery_id NOT IN (SELECT id FROM freed)
    RETURNING s.delivery_id, s.project_id, dead.id AS owner
),
unclaimed AS (
    UPDATE deliveries d
    SET state = CASE WHEN d.attempt_count = 0 THEN 'Scheduled' ELSE 'Retry' END, claimed_by = NULL
    FROM handed_back h
    WHERE d.project_id = h.project_id AND d.id = h.delivery_id AND d.claimed_by = h.owner
)
SELECT
    (SELECT count(*) FROM dead) AS "processes!",
    (SELECT count(*) FROM queued) + (SELECT count(*) FROM handed_back) AS "deliveries!"
