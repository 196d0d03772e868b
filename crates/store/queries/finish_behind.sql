-- The deliveries that discard_behind.sql took out of the schedule.
UPDATE deliveries d
SET state = 'Discarded', finished_at = now()
FROM unnest($1::uuid[], $2::uuid[]) AS t (project_id, id)
WHERE d.project_id = t.project_id AND d.id = t.id AND d.finished_at IS NULL
