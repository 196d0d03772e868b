-- Outages that are over: somebody alive consumes, and nobody alive fails. One whose source is gone for a day is
-- forgotten without a word.
WITH living AS MATERIALIZED (
    SELECT s.source_id, s.project_id, s.kind, s.name, s.state, s.failing_since
    FROM source_outages o
    JOIN source_status s ON s.source_id = o.source_id
    JOIN processes p ON p.id = s.process_id AND p.lease_until >= now()
),
ended AS (
    DELETE FROM source_outages o
    WHERE (
        EXISTS (SELECT FROM living l WHERE l.source_id = o.source_id AND l.state = 'consuming')
        AND NOT EXISTS (SELECT FROM living l WHERE l.source_id = o.source_id AND l.failing_since IS NOT NULL)
    )
    OR (
        o.began_at < now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM source_status s WHERE s.source_id = o.source_id)
    )
    RETURNING o.source_id
)
SELECT DISTINCT ON (l.source_id)
    l.source_id AS "source_id!", l.project_id AS "project_id!", l.kind AS "kind!", l.name AS "name!"
FROM ended
JOIN living l USING (source_id)
ORDER BY l.source_id
