SELECT project_id, source_id, reason, count(*) AS "count!"
FROM quarantine
WHERE ($1::uuid IS NULL OR project_id = $1)
    AND ($2::uuid IS NULL OR source_id = $2)
    AND ($3::text IS NULL OR reason = $3)
    AND received_at >= COALESCE($4::timestamptz, '-infinity')
    AND received_at < COALESCE($5::timestamptz, 'infinity')
    AND ($6::boolean OR replayed_at IS NULL)
GROUP BY project_id, source_id, reason
ORDER BY project_id, source_id, reason
