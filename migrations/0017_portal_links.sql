-- Portal links: what a project's customer may see and do, by the owner of endpoints.

CREATE TABLE portal_links (
    project_id          uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id                  uuid NOT NULL,
    name                text NOT NULL,
    -- Every endpoint with this owner, and nothing else.
    owner_id            text NOT NULL,
    -- 'static_token': the link's own token, for as long as there is the link; 'refresh_token': short-lived ones alone.
    auth_type           text NOT NULL,
    can_manage_endpoint boolean NOT NULL DEFAULT false,
    -- The token of a 'static_token' link: hashed as API keys are, and sealed, since its URL can be read again.
    token_hash          bytea,
    sealed_token        bytea,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id),
    CONSTRAINT portal_links_id_unique UNIQUE (id),
    CONSTRAINT portal_links_token_unique UNIQUE (token_hash),
    CONSTRAINT portal_links_auth_type_known CHECK (auth_type IN ('static_token', 'refresh_token')),
    CONSTRAINT portal_links_token_complete CHECK (
        (auth_type = 'static_token') = (token_hash IS NOT NULL) AND (token_hash IS NULL) = (sealed_token IS NULL)
    )
);
CREATE INDEX portal_links_owner ON portal_links (project_id, owner_id);

-- Short-lived tokens; their texts are nowhere.
CREATE TABLE portal_tokens (
    project_id uuid NOT NULL,
    link_id    uuid NOT NULL,
    id         uuid PRIMARY KEY,
    hash       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT portal_tokens_hash_unique UNIQUE (hash),
    FOREIGN KEY (project_id, link_id) REFERENCES portal_links (project_id, id) ON DELETE CASCADE
);
CREATE INDEX portal_tokens_link ON portal_tokens (project_id, link_id, id);

-- Whatever is shown to an owner is found by its endpoints.
CREATE INDEX endpoints_owner ON endpoints (project_id, owner_id, id) WHERE owner_id IS NOT NULL;
