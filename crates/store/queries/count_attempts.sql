-- Replaces what this process counted and returns what all processes counted lately, under the same breaker.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::integer[], $5::integer[])
        AS t (endpoint_id, version, requests, failures)
),
mine AS (
    INSERT INTO breaker_counts (endpoint_id, process_id, version, requests, failures, counted_at)
    SELECT endpoint_id, $1, version, requests, failures, now() FROM input ORDER BY endpoint_id
    ON CONFLICT (endpoint_id, process_id) DO UPDATE SET
        version = excluded.version, requests = excluded.requests, failures = excluded.failures,
        counted_at = excluded.counted_at
)
SELECT
    b.endpoint_id,
    b.version,
    (i.requests + COALESCE(others.requests, 0))::bigint AS "requests!",
    (i.failures + COALESCE(others.failures, 0))::bigint AS "failures!",
    extract(epoch FROM now() - b.changed_at)::float8 AS "age!"
FROM input i
JOIN breakers b ON b.endpoint_id = i.endpoint_id AND b.version = i.version
CROSS JOIN LATERAL (
    SELECT sum(c.requests) AS requests, sum(c.failures) AS failures
    FROM breaker_counts c
    WHERE c.endpoint_id = i.endpoint_id AND c.process_id <> $1 AND c.version = i.version
        -- Who is silent for longer has nothing in its window any more, or is gone.
        AND c.counted_at > now() - interval '5 seconds'
) others
