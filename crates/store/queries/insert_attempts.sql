INSERT INTO attempts (
    project_id, delivery_id, id, endpoint_id, number, started_at, duration_us, outcome, http_status, error, url,
    request_headers, response_headers, response_body, next_state, next_attempt_at,
    remote_address
)
SELECT
    project_id, delivery_id, id, endpoint_id, number, started_at, duration_us, outcome, http_status, error, url,
    request_headers::json, response_headers::json, response_body, next_state,
    now() + make_interval(secs => next_after_seconds), remote_address
FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::timestamptz[], $7::integer[], $8::text[],
    $9::smallint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::float8[],
    $17::text[]
) AS t (
    project_id, delivery_id, id, endpoint_id, number, started_at, duration_us, outcome, http_status, error, url,
    request_headers, response_headers, response_body, next_state, next_after_seconds, remote_address
)
ON CONFLICT DO NOTHING
