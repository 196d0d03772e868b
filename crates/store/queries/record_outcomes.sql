-- Outcomes of a batch of claimed deliveries, fenced by the claim: a row that somebody else took over meanwhile
-- is not touched. The attempt is on record either way, since it did happen.
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::boolean[], $6::text[], $7::float8[], $8::boolean[],
        $11::boolean[]
    ) AS t (
        project_id, delivery_id, owner, attempts, is_scheduled, state, delay_seconds, is_attempted, is_throttled
    )
),
moved AS (
    UPDATE deliveries d
    SET
        state = i.state,
        attempt_count = i.attempts,
        throttled_count = d.throttled_count + i.is_throttled::int,
        claimed_by = NULL,
        finished_at = CASE WHEN i.state IN ('Success', 'Failure', 'Discarded') THEN now() END
    FROM input i
    WHERE d.project_id = i.project_id
        AND d.id = i.delivery_id
        -- Constant bounds let the planner leave out every other partition.
        AND d.id BETWEEN $9 AND $10
        AND d.state = 'Processing'
        AND d.claimed_by = i.owner
        AND d.attempt_count = i.attempts - i.is_attempted::int
    RETURNING d.id, d.project_id, d.event_id, d.endpoint_id, i.is_scheduled, i.state, i.delay_seconds
),
waiting AS (
    INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
    SELECT m.id, m.project_id, m.endpoint_id, m.event_id,
        CASE WHEN m.delay_seconds < 'infinity' THEN now() + make_interval(secs => m.delay_seconds) ELSE 'infinity' END
    FROM moved m
    WHERE m.state IN ('Scheduled', 'Retry')
    ON CONFLICT (delivery_id) DO UPDATE SET due_at = excluded.due_at, claimed_by = NULL
),
done AS (
    DELETE FROM schedule s
    USING moved m
    WHERE s.delivery_id = m.id AND m.is_scheduled AND m.state IN ('Success', 'Failure', 'Discarded')
)
SELECT count(*) AS "moved!" FROM moved
