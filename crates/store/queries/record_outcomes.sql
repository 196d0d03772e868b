-- Outcomes of a batch of claimed deliveries, fenced by the claim: a row that somebody else took over meanwhile
-- is not touched. The attempt is on record either way, since it did happen.
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::smallint[], $7::boolean[], $8::text[],
        $9::float8[], $10::boolean[]
    ) AS t (
        project_id, delivery_id, event_id, endpoint_id, owner, attempts, is_scheduled, state, delay_seconds,
        is_attempted
    )
),
moved AS (
    UPDATE deliveries d
    SET
        state = i.state,
        attempt_count = i.attempts,
        claimed_by = NULL,
        finished_at = CASE WHEN i.state IN ('Success', 'Failure', 'Discarded') THEN now() END
    FROM input i
    WHERE d.project_id = i.project_id
        AND d.id = i.delivery_id
        -- Constant bounds let the planner leave out every other partition.
        AND d.id BETWEEN $11 AND $12
        AND d.state = 'Processing'
        AND d.claimed_by = i.owner
        AND d.attempt_count = i.attempts - i.is_attempted::int
    RETURNING d.id
),
waiting AS (
    INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
    SELECT i.delivery_id, i.project_id, i.endpoint_id, i.event_id, now() + make_interval(secs => i.delay_seconds)
    FROM input i
    JOIN moved m ON m.id = i.delivery_id
    WHERE i.state IN ('Scheduled', 'Retry')
    ON CONFLICT (delivery_id) DO UPDATE SET due_at = excluded.due_at, claimed_by = NULL
),
done AS (
    DELETE FROM schedule s
    USING input i
    JOIN moved m ON m.id = i.delivery_id
    WHERE s.delivery_id = i.delivery_id
        AND i.is_scheduled
        AND i.state IN ('Success', 'Failure', 'Discarded')
)
SELECT count(*) AS "moved!" FROM moved
