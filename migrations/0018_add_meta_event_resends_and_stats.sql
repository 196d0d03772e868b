-- Meta events that are sent again, and figures by hour.

ALTER TABLE meta_events
    -- When it was queued again by hand: its age is counted from there.
    ADD COLUMN resent_at timestamptz;

-- What happened in an hour, by endpoint and event type. Filled by one process from the ids of an hour, never by the hot
-- path; an hour is always written as a whole.
CREATE TABLE stats_hourly (
    project_id  uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    hour        timestamptz NOT NULL,
    -- Nil in the rows that count events.
    endpoint_id uuid NOT NULL,
    -- Empty when a delivery's event was kept no longer.
    event_type  text NOT NULL,
    events      bigint NOT NULL,
    scheduled   bigint NOT NULL,
    processing  bigint NOT NULL,
    retry       bigint NOT NULL,
    success     bigint NOT NULL,
    failure     bigint NOT NULL,
    discarded   bigint NOT NULL,
    attempts    bigint NOT NULL,
    PRIMARY KEY (project_id, hour, endpoint_id, event_type)
);
CREATE INDEX stats_hourly_by_hour ON stats_hourly (hour);

-- Which hours were rolled up, and when last.
CREATE TABLE stats_hours (
    hour      timestamptz PRIMARY KEY,
    rolled_at timestamptz NOT NULL,
    -- Whether deliveries of it had not ended.
    is_open   boolean NOT NULL
);
