SELECT
    project_id, id, source_id, reason, detail, position, received_at, octet_length(body)::bigint AS "bytes!",
    replayed_at, event_id
FROM quarantine
WHERE ($1::uuid IS NULL OR project_id = $1)
    AND ($2::uuid IS NULL OR source_id = $2)
    AND ($3::text IS NULL OR reason = $3)
    AND received_at >= COALESCE($4::timestamptz, '-infinity')
    AND received_at < COALESCE($5::timestamptz, 'infinity')
    AND ($6::boolean OR replayed_at IS NULL)
    -- A bound that the index knows, so that a later page does not read the earlier ones.
    AND (received_at, id)
        < (COALESCE($7::timestamptz, 'infinity'), COALESCE($8::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
ORDER BY received_at DESC, id DESC
LIMIT $9
