-- What the delivery engine is told about endpoints, projects and subscriptions.

ALTER TABLE endpoints
    -- Limits and the form of requests: a JSON object, {} for the defaults.
    ADD COLUMN settings          jsonb NOT NULL DEFAULT '{}',
    -- Why it has its status when nobody set it by hand: gone, exhausted, breaker.
    ADD COLUMN status_reason     text,
    ADD COLUMN status_changed_at timestamptz;
-- Sealed JSON: authentication, client certificate, authorities, headers.
ALTER TABLE endpoints RENAME COLUMN sealed_auth TO sealed_credentials;

-- Sealed JSON: proxy, secret of meta events, Slack URL.
ALTER TABLE projects ADD COLUMN sealed_credentials bytea;

-- {"key": place, "on_exhausted": block | skip | park}; NULL for no order.
ALTER TABLE subscriptions ADD COLUMN ordered jsonb;
