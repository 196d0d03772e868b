-- What the fleet shares to keep limits and to spare endpoints that keep failing.

-- The timeline of each endpoint with a rate limit. Processes take slices of it. Changed about once a second while in use,
-- so pages have room for new versions of a row, and there is no second index.
CREATE TABLE rate_lanes (
    endpoint_id uuid PRIMARY KEY,
    -- The time between two slots under which the lane was used last, and the length of the last slice.
    spacing_ns  bigint NOT NULL,
    slice_ns    bigint NOT NULL,
    -- The first slot that nobody has.
    next_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The budget of each project with an ingest limit: full when `next_at` is a whole limit's time in the past.
CREATE TABLE ingest_budgets (
    project_id uuid PRIMARY KEY,
    next_at    timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The breaker of each endpoint that has failed lately; who has no row is closed.
CREATE TABLE breakers (
    endpoint_id uuid PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
    project_id  uuid NOT NULL,
    state       text NOT NULL DEFAULT 'closed',
    -- Times it has opened without closing in between.
    trips       integer NOT NULL DEFAULT 0,
    -- Open: when a probe may begin. Half-open: when another process may probe instead.
    until_at    timestamptz,
    -- When it closed after having been open.
    closed_at   timestamptz,
    version     bigint NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT breakers_state_known CHECK (state IN ('closed', 'open', 'half_open')),
    CONSTRAINT breakers_until_while_not_closed CHECK ((until_at IS NULL) = (state = 'closed'))
);
CREATE INDEX breakers_version ON breakers (version);

-- The feed of breakers: one row, polled by every process. Who changes breakers locks it first, so versions become visible
-- in their order.
CREATE TABLE breaker_version (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    version     bigint NOT NULL DEFAULT 0
);
INSERT INTO breaker_version DEFAULT VALUES;

-- What each process counted under a breaker, replaced about once a second.
CREATE TABLE breaker_counts (
    endpoint_id uuid NOT NULL,
    process_id  uuid NOT NULL,
    version     bigint NOT NULL,
    requests    integer NOT NULL,
    failures    integer NOT NULL,
    counted_at  timestamptz NOT NULL,
    PRIMARY KEY (endpoint_id, process_id)
) WITH (fillfactor = 50);

-- Changes of breakers, for those who tell people.
CREATE TABLE breaker_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    trips       integer NOT NULL,
    -- Whether the endpoint was switched off with it.
    is_disabled boolean NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now()
);
