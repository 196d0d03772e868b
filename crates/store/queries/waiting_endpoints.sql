-- The first due delivery of each endpoint, by hopping from endpoint to endpoint over the index: the cost is one
-- look-up per endpoint with a backlog, however long the backlogs are.
WITH RECURSIVE hop AS (
    (SELECT endpoint_id, due_at FROM schedule ORDER BY endpoint_id, due_at LIMIT 1)
    UNION ALL
    SELECT next.endpoint_id, next.due_at
    FROM hop
    CROSS JOIN LATERAL (
        SELECT s.endpoint_id, s.due_at
        FROM schedule s
        WHERE s.endpoint_id > hop.endpoint_id
        ORDER BY s.endpoint_id, s.due_at
        LIMIT 1
    ) next
)
SELECT endpoint_id AS "endpoint_id!", GREATEST(0, date_part('epoch', due_at - now())) AS "due_in_seconds!"
FROM hop
-- What waits for its turn in a lane, or for people, is due at no time.
WHERE due_at < 'infinity'
-- The soonest, not the first by id: nobody's turn never comes.
ORDER BY due_at
LIMIT $1
