-- What the brokers add: more about an event, how far a log was read, and quarantine that can be sent again.

-- What a source's mapping may find in a message. Nullable and without a default: no partition is rewritten.
ALTER TABLE events
    -- What is kept in order.
    ADD COLUMN ordering_key text,
    -- When it happened, by the producer's word.
    ADD COLUMN occurred_at  timestamptz,
    -- The media type of the body; NULL for application/json.
    ADD COLUMN content_type text,
    -- The context attributes of a CloudEvent: a JSON object.
    ADD COLUMN attributes   json;
