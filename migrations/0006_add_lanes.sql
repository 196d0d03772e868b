-- Ordered delivery. `docs/adr/0006-ordered-delivery.md` has the reasons.

-- A lane: the deliveries of one subscription with one ordering key. Whoever puts a delivery in or takes one out holds
-- its row, so that both see what the other did. Rows of idle lanes go after a while.
CREATE TABLE lanes (
    -- A digest of subscription and key.
    id              uuid PRIMARY KEY,
    project_id      uuid NOT NULL,
    subscription_id uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    -- The delivery whose turn it is: the only one that is due, claimed or on its way. NULL: nothing waits.
    head            uuid,
    -- Since when the head is given up and the lane waits for somebody to decide.
    blocked_at      timestamptz,
    -- Of the delivery that came last. Below 2^53.
    last_sequence   bigint NOT NULL,
    -- How many have come so far.
    entered         bigint NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 1
);
-- What waits for people. Entering and leaving change no indexed column, so they are in-place (HOT) updates.
CREATE INDEX lanes_blocked ON lanes (id) WHERE blocked_at IS NOT NULL;

-- Nullable, or with a constant default: no row is rewritten. Behind the head, `due_at` is 'infinity'.
ALTER TABLE schedule
    ADD COLUMN lane_id       uuid,
    ADD COLUMN lane_sequence bigint,
    -- Given up, and out of its lane: the lane goes on without it.
    ADD COLUMN is_aside      boolean NOT NULL DEFAULT false;
CREATE INDEX schedule_lane ON schedule (lane_id, lane_sequence) WHERE lane_id IS NOT NULL AND NOT is_aside;
CREATE INDEX schedule_aside ON schedule (lane_id) WHERE is_aside;
