-- Takes a slice of each timeline: from the first free slot, or from now where that has passed. In the order of the ids,
-- so that two processes wait for each other and do not lock each other out. A lane whose limit has changed starts anew.
WITH asked AS MATERIALIZED (
    SELECT endpoint_id, spacing_ns, spacing_ns * count AS slice_ns
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS t (endpoint_id, spacing_ns, count)
),
taken AS (
    INSERT INTO rate_lanes AS r (endpoint_id, spacing_ns, slice_ns, next_at)
    SELECT endpoint_id, spacing_ns, slice_ns, clock_timestamp() + make_interval(secs => slice_ns / 1e9)
    FROM asked
    ORDER BY endpoint_id
    ON CONFLICT (endpoint_id) DO UPDATE SET
        spacing_ns = excluded.spacing_ns,
        slice_ns = excluded.slice_ns,
        next_at = make_interval(secs => excluded.slice_ns / 1e9) + GREATEST(
            clock_timestamp(),
            CASE
                WHEN r.spacing_ns = excluded.spacing_ns THEN r.next_at
                ELSE LEAST(r.next_at, clock_timestamp() + make_interval(secs => excluded.spacing_ns / 1e9))
            END
        )
        WHERE r.next_at <= clock_timestamp() + make_interval(secs => $4) OR r.spacing_ns <> excluded.spacing_ns
    RETURNING endpoint_id, extract(epoch FROM next_at - clock_timestamp()) - slice_ns / 1e9 AS starts_in
)
SELECT
    a.endpoint_id AS "endpoint_id!",
    t.starts_in IS NOT NULL AS "is_taken!",
    GREATEST(0, COALESCE(t.starts_in, extract(epoch FROM r.next_at - clock_timestamp()), 0))::float8 AS "starts_in!"
FROM asked a
LEFT JOIN taken t USING (endpoint_id)
LEFT JOIN rate_lanes r USING (endpoint_id)
