-- What the public API keeps of subscriptions, and a project's catalogue of event types.

-- What the public API's contract has in a subscription and nothing acts on: kept, and given back.
ALTER TABLE subscriptions ADD COLUMN contract_settings jsonb NOT NULL DEFAULT '{}';

CREATE TABLE event_types (
    project_id    uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    -- What events say: 'invoice.paid'.
    name          text NOT NULL,
    category      text NOT NULL DEFAULT '',
    description   text NOT NULL DEFAULT '',
    -- A JSON Schema of the events' data; NULL for none.
    json_schema   json,
    -- Since when it should no longer be used.
    deprecated_at timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT event_types_id_unique UNIQUE (id),
    CONSTRAINT event_types_name_unique UNIQUE (project_id, name)
);
CREATE TRIGGER event_types_bump BEFORE INSERT OR UPDATE OR DELETE ON event_types
    FOR EACH STATEMENT EXECUTE FUNCTION bump_config_version();
