-- Configuration: what people declare. Small tables, read as a whole into every process's snapshot.

CREATE TABLE projects (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    -- 'outgoing': we send webhooks; 'incoming': we receive them for you.
    kind        text NOT NULL DEFAULT 'outgoing',
    settings    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_name_unique UNIQUE (name),
    CONSTRAINT projects_kind_known CHECK (kind IN ('outgoing', 'incoming'))
);

CREATE TABLE endpoints (
    project_id          uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id                  uuid NOT NULL,
    -- The name under which a resource file manages it; NULL when it came from elsewhere.
    resource_name       text,
    name                text NOT NULL,
    url                 text NOT NULL,
    owner_id            text,
    status              text NOT NULL DEFAULT 'active',
    advanced_signatures boolean NOT NULL DEFAULT true,
    http_timeout_ms     integer NOT NULL DEFAULT 10000,
    max_concurrency     integer NOT NULL DEFAULT 50,
    -- Sealed JSON: what is sent besides the signature.
    sealed_auth         bytea,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT endpoints_id_unique UNIQUE (id),
    CONSTRAINT endpoints_resource_name_unique UNIQUE (project_id, resource_name),
    CONSTRAINT endpoints_status_known CHECK (status IN ('active', 'paused', 'inactive')),
    CONSTRAINT endpoints_http_timeout_range CHECK (http_timeout_ms BETWEEN 100 AND 120000),
    CONSTRAINT endpoints_max_concurrency_range CHECK (max_concurrency BETWEEN 1 AND 1000)
);

CREATE TABLE endpoint_secrets (
    project_id  uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    id          uuid NOT NULL,
    -- The secret's text, sealed with the installation's key.
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- From then on it no longer signs; NULL for the current secret.
    expires_at  timestamptz,
    PRIMARY KEY (project_id, endpoint_id, id),
    FOREIGN KEY (project_id, endpoint_id) REFERENCES endpoints (project_id, id) ON DELETE CASCADE
);

CREATE TABLE subscriptions (
    project_id    uuid NOT NULL,
    id            uuid NOT NULL,
    endpoint_id   uuid NOT NULL,
    resource_name text,
    name          text NOT NULL,
    -- Patterns: a type, 'prefix.*' or '*'.
    event_types   text[] NOT NULL DEFAULT '{*}',
    -- [{"event_type": pattern, "body": {…}, "headers": {…}}]
    filters       jsonb NOT NULL DEFAULT '[]',
    -- A retry schedule that beats the project's; NULL to take the project's.
    retry         jsonb,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT subscriptions_id_unique UNIQUE (id),
    CONSTRAINT subscriptions_resource_name_unique UNIQUE (project_id, resource_name),
    FOREIGN KEY (project_id, endpoint_id) REFERENCES endpoints (project_id, id) ON DELETE CASCADE
);
CREATE INDEX subscriptions_endpoint ON subscriptions (project_id, endpoint_id);

CREATE TABLE sources (
    project_id    uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    resource_name text,
    name          text NOT NULL,
    -- The broker: 'rabbitmq', …
    kind          text NOT NULL,
    workers       integer NOT NULL DEFAULT 1,
    is_disabled   boolean NOT NULL DEFAULT false,
    -- The broker's settings as JSON, sealed, since they hold credentials.
    sealed_config bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT sources_id_unique UNIQUE (id),
    CONSTRAINT sources_resource_name_unique UNIQUE (project_id, resource_name),
    CONSTRAINT sources_workers_range CHECK (workers BETWEEN 1 AND 64)
);

CREATE TABLE api_keys (
    project_id    uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    resource_name text,
    name          text NOT NULL,
    -- HMAC-SHA256 of the key under the installation's key; the key itself is nowhere.
    hash          bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    PRIMARY KEY (project_id, id),
    CONSTRAINT api_keys_id_unique UNIQUE (id),
    CONSTRAINT api_keys_hash_unique UNIQUE (hash),
    CONSTRAINT api_keys_resource_name_unique UNIQUE (project_id, resource_name)
);

-- The feed: one row whose version grows with each change of the tables above. Processes poll it; nothing
-- listens, so no transaction has to notify.
CREATE TABLE config_version (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    version     bigint NOT NULL DEFAULT 1
);
INSERT INTO config_version DEFAULT VALUES;

CREATE FUNCTION bump_config_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE config_version SET version = version + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER projects_bump AFTER INSERT OR UPDATE OR DELETE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER endpoints_bump AFTER INSERT OR UPDATE OR DELETE ON endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER endpoint_secrets_bump AFTER INSERT OR UPDATE OR DELETE ON endpoint_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER subscriptions_bump AFTER INSERT OR UPDATE OR DELETE ON subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER sources_bump AFTER INSERT OR UPDATE OR DELETE ON sources
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER api_keys_bump AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
