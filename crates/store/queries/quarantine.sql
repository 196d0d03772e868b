INSERT INTO quarantine (project_id, id, source_id, reason, detail, position, headers, message, body, received_at)
SELECT project_id, id, source_id, reason, detail, position, headers::json, message::json, body, received_at
FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[],
    $10::timestamptz[]
) AS t (project_id, id, source_id, reason, detail, position, headers, message, body, received_at)
ON CONFLICT DO NOTHING
