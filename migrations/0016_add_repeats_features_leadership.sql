-- What all operations of the public API have in common, and who does the upkeep.

-- Requests with an `Idempotency-Key`, for a day: a repeat gets the answer of the first.
CREATE TABLE idempotent_requests (
    id            uuid PRIMARY KEY,
    -- Of who asked, for which path, with which key; keyed, as the digest of the request is.
    hash          bytea NOT NULL,
    request       bytea NOT NULL,
    -- NULL while the first is in progress. Answers hold secrets.
    sealed_answer bytea,
    started_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotent_requests_hash_unique UNIQUE (hash)
);
CREATE INDEX idempotent_requests_by_time ON idempotent_requests (started_at);

-- What projects decided about features; without a row a feature is as its stage says.
CREATE TABLE project_features (
    project_id uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    feature    text NOT NULL,
    is_enabled boolean NOT NULL,
    PRIMARY KEY (project_id, feature)
);

-- Who does what one process does for all, on the database's clock.
CREATE TABLE leaderships (
    duty       text PRIMARY KEY,
    holder     uuid NOT NULL,
    hostname   text NOT NULL,
    held_since timestamptz NOT NULL DEFAULT now(),
    held_until timestamptz NOT NULL
);
