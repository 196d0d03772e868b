-- What the public API's lists of events and deliveries, their searches and their retries need.

-- Neither of these columns ever changes, so that outcomes stay in-place (HOT) updates. Both grow at their right edges:
-- the ids of events and deliveries are ordered by time.
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, id);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
-- The later events of an idempotency key; the first one is in idempotency_keys. Costs events that are no duplicates nothing.
CREATE INDEX events_duplicates ON events (project_id, idempotency_key) WHERE is_duplicate;
-- Whether a body has all these words. What is no text has none.
CREATE FUNCTION event_has_words(body bytea, words tsquery) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT COST 2000 AS $$
BEGIN
    RETURN to_tsvector('simple', convert_from(body, 'UTF8')) @@ words;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END
$$;

-- Whether a body is JSON that contains this. What Postgres cannot hold as JSON contains nothing.
CREATE FUNCTION event_contains(body bytea, part jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT COST 1000 AS $$
BEGIN
    RETURN convert_from(body, 'UTF8')::jsonb @> part;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END
$$;

-- Many deliveries tried again, in the background: what was asked for, and how far it is.
CREATE TABLE delivery_operations (
    project_id    uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    -- Which deliveries: the filter of the list, as JSON.
    filter        jsonb NOT NULL,
    -- Those that came later are left alone.
    before_id     uuid NOT NULL,
    -- Up to this one it is done.
    after_id      uuid,
    state         text NOT NULL DEFAULT 'waiting',
    problem       text,
    retried       bigint NOT NULL DEFAULT 0,
    left_out      bigint NOT NULL DEFAULT 0,
    claimed_until timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT delivery_operations_state_known CHECK (state IN ('waiting', 'running', 'done', 'failed'))
);
CREATE INDEX delivery_operations_open ON delivery_operations (created_at) WHERE state IN ('waiting', 'running');
