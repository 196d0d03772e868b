-- What an endpoint has for people: a description, and how to reach those who run it.
ALTER TABLE endpoints
    ADD COLUMN description     text NOT NULL DEFAULT '',
    -- Sealed JSON: support_email, slack_webhook_url, teams_webhook_url. Such a URL is a secret itself.
    ADD COLUMN sealed_contacts bytea;
CREATE INDEX endpoints_by_owner ON endpoints (project_id, owner_id, id) WHERE owner_id IS NOT NULL;
