-- What a source was asked with: it goes on to the endpoint's URL. No other event has one.
ALTER TABLE events ADD COLUMN url_query text;

-- The address that an attempt was connected to; NULL when there was no answer.
ALTER TABLE attempts ADD COLUMN remote_address text;

-- How much went to an endpoint, without a look at its project's other rows.
CREATE INDEX stats_hourly_by_endpoint ON stats_hourly (endpoint_id)
    INCLUDE (scheduled, processing, retry, success, failure, discarded)
    WHERE endpoint_id <> '00000000-0000-0000-0000-000000000000';

-- A page per row or two: versions that nobody may prune yet, since somebody somewhere still reads, leave room for the
-- next one in place.
ALTER TABLE source_status SET (fillfactor = 10);
