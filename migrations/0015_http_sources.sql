-- Sources that receive webhooks, subscriptions to one source, and bulk work on quarantined messages.

ALTER TABLE sources
    -- The end of the URL that an HTTP source receives at.
    ADD COLUMN mask_id  text,
    -- Whose webhooks it receives: github, shopify, twitter; empty for nobody in particular.
    ADD COLUMN provider text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX sources_mask_unique ON sources (mask_id);

-- The only source whose events it takes; NULL for all. No reference: of a source that is gone nothing comes, and a
-- subscription that lost its source must not begin to take everything.
ALTER TABLE subscriptions ADD COLUMN IF NOT EXISTS source_id uuid;

-- Replays and discards of many quarantined messages, done in the background by whichever control plane claims them.
CREATE TABLE quarantine_operations (
    project_id    uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    -- replay, discard
    kind          text NOT NULL,
    -- These messages, in this order; NULL for those of the filter.
    ids           uuid[],
    source_id     uuid,
    reason        text,
    from_time     timestamptz,
    -- Never later than when it was asked for: what is quarantined meanwhile is left alone.
    until_time    timestamptz,
    -- In place of the source's, for a replay.
    mapping       json,
    -- waiting, running, done, failed
    state         text NOT NULL DEFAULT 'waiting',
    problem       text,
    total         bigint NOT NULL DEFAULT 0,
    stored        bigint NOT NULL DEFAULT 0,
    duplicate     bigint NOT NULL DEFAULT 0,
    known         bigint NOT NULL DEFAULT 0,
    faulty        bigint NOT NULL DEFAULT 0,
    discarded     bigint NOT NULL DEFAULT 0,
    left_out      bigint NOT NULL DEFAULT 0,
    -- How far it is: of `ids` so many, of the filter up to this message.
    ids_done      bigint NOT NULL DEFAULT 0,
    after_time    timestamptz,
    after_id      uuid,
    -- Until then nobody else takes it.
    claimed_until timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT quarantine_operations_kind_known CHECK (kind IN ('replay', 'discard')),
    CONSTRAINT quarantine_operations_state_known CHECK (state IN ('waiting', 'running', 'done', 'failed'))
);
CREATE INDEX quarantine_operations_open ON quarantine_operations (created_at) WHERE state IN ('waiting', 'running');
