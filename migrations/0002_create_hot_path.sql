-- The hot path. Events, deliveries, attempts and quarantine are partitioned by their time-ordered id and
-- dropped by retention, never deleted row by row. `docs/adr/0002-hot-path-data-model.md` has the reasons.

-- A run of a process. Claims belong to a process and live as long as its lease, on the database's clock.
CREATE TABLE processes (
    id          uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    -- The smallest id of a fresh delivery it may still hold: where a successor has to look.
    oldest      uuid NOT NULL,
    hostname    text NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE events (
    project_id        uuid NOT NULL,
    id                uuid NOT NULL,
    source_id         uuid,
    kind              text NOT NULL,
    -- What the kind names: the endpoint (single, dynamic) or the owner (fanout).
    endpoint_id       uuid,
    owner_id          text,
    event_type        text NOT NULL,
    idempotency_key   text,
    is_duplicate      boolean NOT NULL,
    -- A JSON array of [name, value] pairs.
    headers           json NOT NULL,
    -- Compact JSON: the very bytes that are signed and sent.
    body              bytea NOT NULL,
    received_at       timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
) PARTITION BY RANGE (id);

-- One event for one endpoint. Nothing that an attempt changes is indexed, so that recording the outcome of a
-- fresh delivery is an in-place (HOT) update; the free half of each page is its room.
CREATE TABLE deliveries (
    project_id      uuid NOT NULL,
    id              uuid NOT NULL,
    event_id        uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    subscription_id uuid,
    -- The process that owns it; set exactly while it is Processing.
    claimed_by      uuid,
    finished_at     timestamptz,
    state           text NOT NULL,
    attempt_count   smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, id),
    CONSTRAINT deliveries_state_known
        CHECK (state IN ('Scheduled', 'Processing', 'Retry', 'Success', 'Failure', 'Discarded')),
    CONSTRAINT deliveries_claimed_iff_processing CHECK ((claimed_by IS NOT NULL) = (state = 'Processing')),
    CONSTRAINT deliveries_finished_iff_final
        CHECK ((finished_at IS NOT NULL) = (state IN ('Success', 'Failure', 'Discarded'))),
    CONSTRAINT deliveries_scheduled_is_untried CHECK (state <> 'Scheduled' OR attempt_count = 0),
    CONSTRAINT deliveries_retry_was_tried CHECK (state <> 'Retry' OR attempt_count > 0),
    CONSTRAINT deliveries_success_was_tried CHECK (state <> 'Success' OR attempt_count > 0)
) PARTITION BY RANGE (id);
-- Where the successor of a dead process looks for what that process held in memory.
CREATE INDEX deliveries_by_time ON deliveries USING brin (id) WITH (pages_per_range = 32);

-- The small hot table: deliveries that wait in Postgres or were claimed from there. A fresh delivery that goes
-- through at its first attempt never has a row here. Rows leave when their delivery ends.
CREATE TABLE schedule (
    delivery_id uuid PRIMARY KEY,
    project_id  uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id    uuid NOT NULL,
    -- When it may be claimed: its next attempt, or the end of its present claim's lease.
    due_at      timestamptz NOT NULL,
    -- Who claimed it; NULL while it waits.
    claimed_by  uuid
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 1
);
-- Claims walk endpoint by endpoint, so that the backlog of one is never in the way of another.
CREATE INDEX schedule_due ON schedule (endpoint_id, due_at);

CREATE TABLE attempts (
    project_id       uuid NOT NULL,
    delivery_id      uuid NOT NULL,
    id               uuid NOT NULL,
    endpoint_id      uuid NOT NULL,
    number           smallint NOT NULL,
    started_at       timestamptz NOT NULL,
    duration_us      integer NOT NULL,
    -- The outcome's class: success, client_error, timeout, …
    outcome          text NOT NULL,
    http_status      smallint,
    error            text NOT NULL,
    url              text NOT NULL,
    request_headers  json NOT NULL,
    response_headers json NOT NULL,
    response_body    bytea NOT NULL,
    -- What followed: Success, Retry, Failure.
    next_state       text NOT NULL,
    PRIMARY KEY (project_id, delivery_id, id)
) PARTITION BY RANGE (id);

-- Messages that can never become events, with their raw bytes.
CREATE TABLE quarantine (
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    source_id   uuid,
    reason      text NOT NULL,
    detail      text NOT NULL,
    position    text NOT NULL,
    headers     json NOT NULL,
    body        bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
) PARTITION BY RANGE (id);

-- Names and digests of messages whose position is no event id, for as long as a broker may redeliver them.
CREATE TABLE message_identities (
    seen_on  date NOT NULL,
    digest   uuid NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (digest, seen_on)
) PARTITION BY RANGE (seen_on);

-- The first event of each idempotency key, while that event is retained.
CREATE TABLE idempotency_keys (
    project_id uuid NOT NULL,
    key        text NOT NULL,
    event_id   uuid NOT NULL,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys USING brin (event_id);
