-- Attempts that cost nothing, endpoints that are switched off for failing, and who is told of it.

ALTER TABLE deliveries
    -- How many of its attempts were answered 429: they are on record and cost none of the schedule's.
    ADD COLUMN throttled_count smallint NOT NULL DEFAULT 0;
ALTER TABLE attempts
    -- When the next attempt was due; NULL when none was to follow, and for rows of earlier versions.
    ADD COLUMN next_attempt_at timestamptz;

-- The feed's row is locked before the rows it is about, by everybody: two writers of configuration wait for each other
-- instead of running into a deadlock.
DROP TRIGGER projects_bump ON projects;
DROP TRIGGER endpoints_bump ON endpoints;
DROP TRIGGER endpoint_secrets_bump ON endpoint_secrets;
DROP TRIGGER subscriptions_bump ON subscriptions;
DROP TRIGGER sources_bump ON sources;
DROP TRIGGER api_keys_bump ON api_keys;
CREATE TRIGGER projects_bump BEFORE INSERT OR UPDATE OR DELETE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER endpoints_bump BEFORE INSERT OR UPDATE OR DELETE ON endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER endpoint_secrets_bump BEFORE INSERT OR UPDATE OR DELETE ON endpoint_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER subscriptions_bump BEFORE INSERT OR UPDATE OR DELETE ON subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER sources_bump BEFORE INSERT OR UPDATE OR DELETE ON sources
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER api_keys_bump BEFORE INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();

-- Endpoints of projects with `disable_endpoint` that fail, and since when without a success. Seldom written: at the
-- first failure, and at the first success after it.
CREATE TABLE failing_endpoints (
    endpoint_id   uuid PRIMARY KEY,
    -- When the attempt ended that failed first.
    failing_since timestamptz NOT NULL
);

-- Meta events: what a project's own webhook is told. Kept for a while, so that they can be listed and sent again.
CREATE TABLE meta_events (
    project_id      uuid NOT NULL,
    id              uuid NOT NULL,
    event_type      text NOT NULL,
    data            json NOT NULL,
    state           text NOT NULL DEFAULT 'Scheduled',
    attempt_count   smallint NOT NULL DEFAULT 0,
    throttled_count smallint NOT NULL DEFAULT 0,
    -- When it may be taken: its next attempt, or the end of the present one's lease; NULL once it is over.
    next_attempt_at timestamptz DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    -- The last attempt.
    attempted_at    timestamptz,
    outcome         text,
    http_status     smallint,
    error           text,
    response_body   bytea,
    PRIMARY KEY (project_id, id),
    CONSTRAINT meta_events_state_known CHECK (state IN ('Scheduled', 'Processing', 'Retry', 'Success', 'Failure')),
    CONSTRAINT meta_events_waits_unless_over
        CHECK ((next_attempt_at IS NULL) = (state IN ('Success', 'Failure')))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX meta_events_due ON meta_events (project_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX meta_events_by_time ON meta_events USING brin (created_at);

-- Alerts to people, gathered: one row for each channel, kind and subject, told at most once in a while.
CREATE TABLE alerts (
    project_id    uuid NOT NULL,
    channel       text NOT NULL,
    kind          text NOT NULL,
    -- The endpoint or the source.
    subject_id    uuid NOT NULL,
    -- How often it happened since it was told.
    pending       bigint NOT NULL,
    -- The last of them.
    data          json NOT NULL,
    happened_at   timestamptz NOT NULL DEFAULT now(),
    -- When it may be told, if anything is pending.
    due_at        timestamptz NOT NULL DEFAULT now(),
    attempt_count smallint NOT NULL DEFAULT 0,
    told_at       timestamptz,
    error         text,
    PRIMARY KEY (project_id, channel, kind, subject_id),
    CONSTRAINT alerts_channel_known CHECK (channel IN ('email', 'slack'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX alerts_due ON alerts (due_at) WHERE pending > 0;

-- Since when a consumer fails, without having consumed in between.
ALTER TABLE source_status ADD COLUMN failing_since timestamptz;

-- Sources that were told to be failing, so that one process tells it once, and its end.
CREATE TABLE source_outages (
    source_id uuid PRIMARY KEY,
    began_at  timestamptz NOT NULL DEFAULT now()
);
