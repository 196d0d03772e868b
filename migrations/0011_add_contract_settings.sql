-- What the public API's contract has in a project's settings and nothing acts on: kept, and given back.
ALTER TABLE projects ADD COLUMN contract_settings jsonb NOT NULL DEFAULT '{}';
