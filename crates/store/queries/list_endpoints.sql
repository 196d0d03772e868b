-- A project's endpoints with their breakers: those of $2, or a page by name ($3, a pattern) and owner ($4).
SELECT e.project_id, e.id, e.name, e.description, e.url, e.owner_id, e.status, e.advanced_signatures, e.http_timeout_ms,
    e.max_concurrency, e.settings, e.sealed_credentials, e.sealed_contacts, e.created_at, e.updated_at,
    b.state AS "breaker_state?", b.trips AS "trips?", b.until_at AS "until_at?", b.changed_at AS "changed_at?",
    coalesce(c.requests, 0) AS "requests!", coalesce(c.failures, 0) AS "failures!",
    -- By the hour, as far back as statistics are kept.
    (
        SELECT coalesce(sum(s.scheduled + s.processing + s.retry + s.success + s.failure + s.discarded), 0)::bigint
        FROM stats_hourly s
        WHERE s.endpoint_id = e.id AND s.endpoint_id <> '00000000-0000-0000-0000-000000000000'
    ) AS "deliveries!"
FROM endpoints e
LEFT JOIN breakers b ON b.endpoint_id = e.id
LEFT JOIN LATERAL (
    SELECT sum(requests) AS requests, sum(failures) AS failures
    FROM breaker_counts WHERE endpoint_id = e.id AND version = b.version
) c ON b.endpoint_id IS NOT NULL
WHERE e.project_id = $1
    AND ($2::uuid[] IS NULL OR e.id = ANY($2))
    AND ($3::text IS NULL OR e.name ILIKE $3)
    AND ($4::text IS NULL OR e.owner_id = $4)
    AND ($5::uuid IS NULL OR e.id > $5) AND ($6::uuid IS NULL OR e.id < $6)
ORDER BY CASE WHEN $7 THEN e.id END, CASE WHEN NOT $7 THEN e.id END DESC
LIMIT $8
