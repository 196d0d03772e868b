-- Changes breakers that are still at the version the change starts from, under one new version. The caller holds the lock
-- on `breaker_version`.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::float8[], $6::boolean[])
        AS t (endpoint_id, version, state, span, is_disabled)
),
before AS (
    SELECT b.endpoint_id, b.state
    FROM breakers b
    JOIN input i ON i.endpoint_id = b.endpoint_id AND i.version = b.version
    -- A probe begins where the time of what was before is over: of the open state, or of a prober that is silent.
    WHERE i.state <> 'half_open' OR b.until_at <= now()
    ORDER BY b.endpoint_id
    FOR UPDATE OF b
),
changed AS (
    UPDATE breakers b
    SET state = i.state,
        trips = CASE i.state WHEN 'open' THEN b.trips + 1 WHEN 'closed' THEN 0 ELSE b.trips END,
        until_at = CASE WHEN i.state <> 'closed' THEN now() + make_interval(secs => i.span) END,
        -- Who is switched off and on again by hand begins without a ramp.
        closed_at = CASE WHEN i.state = 'closed' AND NOT i.is_disabled THEN now() END,
        version = $1,
        changed_at = now()
    FROM input i, before
    WHERE b.endpoint_id = before.endpoint_id AND i.endpoint_id = before.endpoint_id
    RETURNING b.endpoint_id, b.project_id, b.state, b.trips, b.until_at, b.closed_at, b.version,
        before.state AS from_state, i.is_disabled
),
told AS (
    INSERT INTO breaker_events (project_id, endpoint_id, from_state, to_state, trips, is_disabled)
    SELECT project_id, endpoint_id, from_state, state, trips, is_disabled FROM changed
),
void AS (
    DELETE FROM breaker_counts n USING changed c WHERE n.endpoint_id = c.endpoint_id
)
SELECT
    endpoint_id, project_id, from_state, state, trips, version, is_disabled AS "is_disabled!",
    GREATEST(0, COALESCE(extract(epoch FROM until_at - now()), 0))::float8 AS "until_in!",
    extract(epoch FROM now() - closed_at)::float8 AS closed_for
FROM changed
