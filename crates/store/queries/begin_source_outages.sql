-- Sources with a consumer of a living process that has been failing for longer than $1 seconds, and of which nobody has
-- told yet: the row is what makes one process tell.
WITH found AS MATERIALIZED (
    SELECT DISTINCT ON (s.source_id)
        s.source_id, s.project_id, s.kind, s.name, s.problem, s.failing_since
    FROM source_status s
    JOIN processes p ON p.id = s.process_id AND p.lease_until >= now()
    WHERE s.failing_since <= now() - make_interval(secs => $1)
    ORDER BY s.source_id, s.failing_since
),
told AS (
    INSERT INTO source_outages (source_id, began_at)
    SELECT source_id, failing_since FROM found
    ON CONFLICT DO NOTHING
    RETURNING source_id
)
SELECT f.source_id, f.project_id, f.kind, f.name, f.problem, f.failing_since AS "failing_since!"
FROM found f
JOIN told USING (source_id)
