-- Puts deliveries at the end of their lanes, in the transaction that stores them and after everything else in it, so
-- that whoever waits for a lane here holds every other lock already. The arrays of lanes are sorted by id, so that
-- nobody waits in a circle.
WITH arriving AS (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[])
        AS t (id, project_id, subscription_id, endpoint_id, head, entered, last_sequence)
),
lane AS (
    -- Locks the lane's row and sees it as the last one who held it left it, whatever this statement's snapshot shows.
    INSERT INTO lanes AS l (id, project_id, subscription_id, endpoint_id, head, entered, last_sequence)
    SELECT id, project_id, subscription_id, endpoint_id, head, entered, last_sequence FROM arriving
    ON CONFLICT (id) DO UPDATE
        SET
            head = COALESCE(l.head, excluded.head),
            entered = l.entered + excluded.entered,
            last_sequence = GREATEST(l.last_sequence + excluded.entered, excluded.last_sequence),
            updated_at = now()
    RETURNING id, head, last_sequence
)
INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at, lane_id, lane_sequence)
SELECT
    d.delivery_id, d.project_id, d.endpoint_id, d.event_id,
    CASE WHEN d.delivery_id = lane.head THEN now() ELSE 'infinity' END,
    lane.id,
    -- Counted back from the lane's last: above what the lane had before, whatever the clocks say.
    lane.last_sequence - d.behind
FROM unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::bigint[])
    AS d (lane_id, delivery_id, project_id, endpoint_id, event_id, behind)
JOIN lane ON lane.id = d.lane_id
