-- Which of these deliveries exist and whose they are: asked when the reply to a commit was lost.
SELECT d.event_id, d.claimed_by
FROM unnest($1::uuid[], $2::uuid[]) AS t (project_id, id)
JOIN deliveries d ON d.project_id = t.project_id AND d.id = t.id
