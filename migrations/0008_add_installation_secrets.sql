-- What the installation itself keeps secret, sealed with the master key like the credentials of its tenants.
CREATE TABLE installation_secrets (
    id         uuid PRIMARY KEY,
    -- 'api_key_pepper': what API keys are hashed with. It never changes; the seal around it does.
    name       text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT installation_secrets_name_unique UNIQUE (name)
);
