-- Holds lanes, in the order of their ids. Its own statement: only a snapshot taken after the lock shows everything that
-- was put into them.
SELECT id FROM lanes WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE
