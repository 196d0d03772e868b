-- Who may do what: organisations, the people in them, their keys, and what was changed by whom.

CREATE TABLE organisations (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organisations_name_unique UNIQUE (name)
);
-- Where the projects of earlier versions go, and those of resource files.
INSERT INTO organisations (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'default');

CREATE TABLE users (
    id          uuid PRIMARY KEY,
    email       text NOT NULL,
    name        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_unique ON users (lower(email));

CREATE TABLE members (
    organisation_id uuid NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    user_id         uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organisation_id, user_id),
    CONSTRAINT members_role_known CHECK (role IN ('owner', 'admin', 'developer', 'viewer'))
);
CREATE INDEX members_user ON members (user_id);

ALTER TABLE projects
    ADD COLUMN organisation_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001'
        REFERENCES organisations (id) ON DELETE CASCADE,
    -- The dated version of the API that its requests get when they name none: the newest when it was created.
    ADD COLUMN api_version     date,
    ADD COLUMN logo_url        text NOT NULL DEFAULT '';
ALTER TABLE projects DROP CONSTRAINT projects_name_unique;
ALTER TABLE projects ADD CONSTRAINT projects_name_unique UNIQUE (organisation_id, name);

ALTER TABLE api_keys
    -- What it may do, within its project.
    ADD COLUMN role         text NOT NULL DEFAULT 'admin',
    -- Narrower than its role: 'endpoints:read', 'events:write', …; empty for all of the role.
    ADD COLUMN scopes       text[] NOT NULL DEFAULT '{}',
    -- The part that may be shown, to tell keys apart.
    ADD COLUMN mask         text NOT NULL DEFAULT '',
    ADD CONSTRAINT api_keys_role_known CHECK (role IN ('owner', 'admin', 'developer', 'viewer'));

-- Keys of people: they may do what their owner may, in every organisation the owner is in, and no more than their role.
CREATE TABLE personal_keys (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        text NOT NULL,
    hash        bytea NOT NULL,
    mask        text NOT NULL DEFAULT '',
    -- NULL for whatever its owner's role allows.
    role        text,
    scopes      text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    CONSTRAINT personal_keys_hash_unique UNIQUE (hash),
    CONSTRAINT personal_keys_role_known CHECK (role IN ('owner', 'admin', 'developer', 'viewer'))
);
CREATE INDEX personal_keys_user ON personal_keys (user_id);

-- Every change that people or their programs made. Kept when what it is about is gone.
CREATE TABLE audit_log (
    id              uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    project_id      uuid,
    -- project_key, personal_key, portal_link, cli, installation
    actor_kind      text NOT NULL,
    actor_id        uuid,
    actor_name      text NOT NULL,
    -- 'endpoint.updated', …
    action          text NOT NULL,
    resource_id     text NOT NULL,
    -- What changed, without anything secret: a JSON object.
    detail          json NOT NULL,
    request_id      text,
    occurred_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_log_by_organisation ON audit_log (organisation_id, id);
CREATE INDEX audit_log_by_project ON audit_log (project_id, id) WHERE project_id IS NOT NULL;

CREATE TRIGGER personal_keys_bump BEFORE INSERT OR UPDATE OR DELETE ON personal_keys
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
CREATE TRIGGER members_bump BEFORE INSERT OR UPDATE OR DELETE ON members
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
