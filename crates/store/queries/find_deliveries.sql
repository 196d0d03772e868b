-- Which of these deliveries exist and who holds them as handed over by a commit: asked when the reply to it was lost.
-- One that is in the schedule was taken from there since, by a process that lost its lease and has a new one.
SELECT
    d.event_id,
    CASE WHEN NOT EXISTS (SELECT FROM schedule s WHERE s.delivery_id = d.id) THEN d.claimed_by END AS claimed_by
FROM unnest($1::uuid[], $2::uuid[]) AS t (project_id, id)
JOIN deliveries d ON d.project_id = t.project_id AND d.id = t.id
