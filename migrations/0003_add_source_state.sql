-- What the brokers add: more about an event, how far a log was read, and quarantine that can be sent again.

-- What a source's mapping may find in a message. Nullable and without a default: no partition is rewritten.
ALTER TABLE events
    -- What is kept in order.
    ADD COLUMN ordering_key text,
    -- When it happened, by the producer's word.
    ADD COLUMN occurred_at  timestamptz,
    -- The media type of the body; NULL for application/json.
    ADD COLUMN content_type text,
    -- The context attributes of a CloudEvent: a JSON object.
    ADD COLUMN attributes   json;

-- How a source's messages become events: a JSON object, {} for the envelope of the v1 contract.
ALTER TABLE sources ADD COLUMN mapping json NOT NULL DEFAULT '{}';

-- How far each log (a Kafka partition, a RabbitMQ stream) is stored: raised in the transaction of its events, so
-- it is exact where the commit at the broker lags behind. Sources may be declared in a file: no reference.
CREATE TABLE source_offsets (
    source_id   uuid NOT NULL,
    log         text NOT NULL,
    -- Everything below it is stored; NULL when it was forgotten and nothing was stored since.
    next_offset bigint,
    -- What was received earlier no longer counts: the log was another one then, that began anew.
    since       timestamptz NOT NULL DEFAULT '-infinity',
    -- When the messages below were received.
    received_at timestamptz NOT NULL,
    PRIMARY KEY (source_id, log)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- What each consumer of each process says of itself, written every few seconds. No index but the key, so that
-- every report is an in-place (HOT) update.
CREATE TABLE source_status (
    source_id           uuid NOT NULL,
    process_id          uuid NOT NULL,
    -- Which of the source's consumers in that process, from 0.
    worker              smallint NOT NULL,
    project_id          uuid NOT NULL,
    kind                text NOT NULL,
    name                text NOT NULL,
    -- connecting, consuming, failing, stopped
    state               text NOT NULL,
    problem             text,
    -- A JSON array of sentences.
    warnings            json NOT NULL,
    last_progress_at    timestamptz,
    lag                 bigint,
    in_flight           bigint NOT NULL,
    oldest_in_flight_at timestamptz,
    received            bigint NOT NULL,
    stored              bigint NOT NULL,
    duplicate           bigint NOT NULL,
    redelivered         bigint NOT NULL,
    quarantined         bigint NOT NULL,
    returned            bigint NOT NULL,
    reconnects          bigint NOT NULL,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, process_id, worker)
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What sending a quarantined message again needs, and what came of it.
ALTER TABLE quarantine
    -- What the broker said of the message besides its headers and body; NULL for rows of earlier versions.
    ADD COLUMN message     json,
    -- When it became an event after all, or was found to be one already.
    ADD COLUMN replayed_at timestamptz,
    -- That event. Chosen before it is stored, so that a replay that was cut off is repeated under the same id.
    ADD COLUMN event_id    uuid;

-- For people: newest first. Ids of quarantined messages tell the day only.
CREATE INDEX quarantine_by_time ON quarantine (received_at, id);

-- What a dead process had claimed is found without a walk over a backlog of millions. Claiming moves `due_at`, which
-- is indexed, so it is no in-place update anyway; rows that wait have no entry here.
CREATE INDEX schedule_claimed ON schedule (claimed_by) WHERE claimed_by IS NOT NULL;
